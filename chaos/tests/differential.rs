//! The KV beside real etcd: thirty thousand operations on the development build, which is what `verify` has time for. `cargo xtask
//! differential` compares as many as wanted on the release build.

use anyhow::{Result, ensure};
use quorate_chaos::differential::{Options, Programs, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_that_of_real_etcd() -> Result<()> {
    let options = Options {
        operations: 30_000,
        lanes: 2,
        seed: 20_261_122,
        checkpoint_every: 5_000,
        ..Options::default()
    };
    let tally = run(&Programs::find()?, options).await?;
    let done = tally.operations - tally.refused;
    ensure!(
        tally.operations >= options.operations && tally.checkpoints >= 4,
        "the comparison ended early: {tally:?}"
    );
    ensure!(
        done * 3 > tally.operations && tally.refused * 10 > tally.operations,
        "one-sided operations prove little: {tally:?}"
    );
    Ok(())
}
