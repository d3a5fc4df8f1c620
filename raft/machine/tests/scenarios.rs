//! Scenarios: commands as text in, golden output out. One file per topic.

mod common;

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                let text = include_str!(concat!("scenarios/", stringify!($name), ".txt"));
                insta::assert_snapshot!(stringify!($name), common::check(text));
            }
        )*
    };
}

scenarios!(
    bootstrap,
    registry,
    quotas,
    tally,
    timeout,
    failover,
    leader_change,
    repeat_block,
    manual_switch,
    republish,
    sessions,
    authorization,
    reserved_prefix,
    sdk_keys,
    kinds_keys,
    kinds_bad_input,
    kinds_rules,
    workers,
    votes,
    divergence,
    divergence_removed,
    divergence_switch,
    divergence_ends,
    space,
    deletion,
    token_scope,
    application_switch,
    pause,
    maintenance,
    site_loss,
    site_loss_held,
    site_loss_once,
    site_loss_leaderless,
    site_loss_kinds,
    never_served,
    partitions,
    history,
    instances,
);
