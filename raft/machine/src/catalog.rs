//! The one catalogue of texts: events, audit records, refusals and field problems, in English and Chinese.
//!
//! The state holds codes and parameters; edges render them here. `{name}` in a text stands for the parameter of that name,
//! and disappears where there is none.

pub mod edge;
mod fields;
mod meaning;

pub use fields::field_text;
pub use meaning::{EventMeaning, event_meaning};

use crate::events::EventCode;
use crate::reply::{Param, Refusal, RefusalCode};

/// Languages of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locale {
    EnUs,
    ZhCn,
}

impl Locale {
    /// The language of a tag such as `zh-CN`; anything that is not Chinese is English.
    pub fn of_tag(tag: &str) -> Locale {
        if tag.get(..2).is_some_and(|primary| primary.eq_ignore_ascii_case("zh")) {
            Locale::ZhCn
        } else {
            Locale::EnUs
        }
    }
}

/// A text of the catalogue: English, Chinese.
pub type Texts = (&'static str, &'static str);

/// A text with its parameters filled in.
pub fn say(locale: Locale, texts: Texts, params: &[Param]) -> String {
    render(texts, locale, params)
}

impl Refusal {
    /// What is wrong and what to do about it.
    pub fn text(&self, locale: Locale) -> String {
        render(refusal(self.code()), locale, &self.params)
    }
}

impl RefusalCode {
    /// English text of the code with these parameters.
    pub fn text(self, params: &[Param]) -> String {
        render(refusal(self), Locale::EnUs, params)
    }
}

/// Text of an event.
pub fn event_text(locale: Locale, code: EventCode, params: &[Param]) -> String {
    render(event(code), locale, params)
}

/// What an audit record's code says was done. An unknown code is its own text.
pub fn audit_text(locale: Locale, code: &str, params: &[Param]) -> String {
    match AUDIT.iter().find(|(known, ..)| *known == code) {
        Some((_, en, zh)) => render((en, zh), locale, params),
        None => code.to_owned(),
    }
}

/// Codes of the audit records that are written.
pub fn audit_codes() -> impl Iterator<Item = &'static str> {
    AUDIT.iter().map(|(code, ..)| *code)
}

fn pick(texts: Texts, locale: Locale) -> &'static str {
    match locale {
        Locale::EnUs => texts.0,
        Locale::ZhCn => texts.1,
    }
}

/// Fills the parameters in, in one pass, so that a parameter's own braces stay as they are.
fn render(texts: Texts, locale: Locale, params: &[Param]) -> String {
    let mut rest = pick(texts, locale);
    let mut out = String::with_capacity(rest.len());
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        out.push_str(before);
        if let Some(param) = params.iter().find(|param| param.name == name) {
            out.push_str(&param.value);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn refusal(code: RefusalCode) -> Texts {
    match code {
        RefusalCode::Unspecified => ("The request was refused.", "请求被拒绝。"),
        RefusalCode::NotBootstrapped => (
            "The cluster is not bootstrapped yet; run `quorate bootstrap` on one node first.",
            "集群尚未初始化；请先在一个节点上运行 `quorate bootstrap`。",
        ),
        RefusalCode::AlreadyBootstrapped => (
            "The cluster is bootstrapped already; nothing is to be done.",
            "集群已初始化，无需再次执行。",
        ),
        RefusalCode::PermissionDenied => (
            "Your role does not allow this; ask an administrator, or the owner of the object.",
            "当前角色无权执行此操作；请联系管理员或对象的所有者。",
        ),
        RefusalCode::CredentialsChanged => (
            "Your password, role or token was changed meanwhile; log in again.",
            "密码、角色或令牌已变更；请重新登录。",
        ),
        RefusalCode::NotFound => (
            "There is no such object; it may have been deleted. Refresh and try again.",
            "对象不存在，可能已被删除；请刷新后重试。",
        ),
        RefusalCode::DuplicateName => (
            "The name {name} is taken already; choose another one.",
            "名称 {name} 已被使用；请换一个名称。",
        ),
        RefusalCode::GenerationConflict => (
            "The object was changed by somebody else (generation {generation}); read it again and repeat the edit.",
            "对象已被他人修改（版本 {generation}）；请重新读取后再编辑。",
        ),
        RefusalCode::QuotaExceeded => (
            "The quota {limit} of {maximum} is used up; delete one that is not needed, or have the quota raised.",
            "配额 {limit}（{maximum}）已用尽；请删除不用的对象，或由管理员提高配额。",
        ),
        RefusalCode::InvalidSpec => (
            "The request is not valid; correct the fields that are listed.",
            "请求无效；请更正所列字段。",
        ),
        RefusalCode::HasMonitors => (
            "The application {application} still has {monitors} monitors; delete them first.",
            "应用 {application} 仍有 {monitors} 个监控器；请先删除。",
        ),
        RefusalCode::FeatureDisabled => (
            "The feature point {feature_point} is not enabled; tick it in the module and in the namespace first.",
            "功能点 {feature_point} 未启用；请先在功能模块和命名空间中勾选。",
        ),
        RefusalCode::TargetAbnormal => (
            "{monitor}: {data_center} is not healthy ({state}); wait until it is, or force the switch with a reason.",
            "{monitor}：{data_center} 状态异常（{state}）；请等待恢复，或填写原因后强制切换。",
        ),
        RefusalCode::AlreadyActive => (
            "{monitor}: {data_center} is active already; leave this monitor out.",
            "{monitor}：{data_center} 已是活跃数据中心；请去掉该监控器。",
        ),
        RefusalCode::ReasonRequired => ("A forced switch needs a reason; give one.", "强制切换必须填写原因。"),
        RefusalCode::NoConnectionPool => (
            "{monitor} has no connection pool, so there is nothing to switch; save its connection pool first.",
            "{monitor} 未配置连接池，无法切换；请先保存连接池配置。",
        ),
        RefusalCode::FenceUnsupported => (
            "This version does not fence; set the fence policy to none.",
            "当前版本不支持隔离；请将隔离策略设为 none。",
        ),
        RefusalCode::NotOfThisKind => (
            "Monitors of kind {kind} have nothing of that sort ({what}); leave {monitor} out.",
            "{kind} 类型的监控器不支持此操作（{what}）；请排除 {monitor}。",
        ),
        RefusalCode::SwitchInProgress => (
            "A switch is in progress; wait until it has ended.",
            "切换正在进行；请等待其结束。",
        ),
        RefusalCode::StaleReport => (
            "The report is older than what is known; it was ignored.",
            "上报已过期，已忽略。",
        ),
        RefusalCode::StaleTerm => (
            "The term is {term} by now; the command was ignored.",
            "当前任期为 {term}，命令已忽略。",
        ),
        RefusalCode::NothingToAcknowledge => (
            "{monitor} has no automatic switch that waits for an acknowledgement.",
            "{monitor} 没有待确认的自动切换。",
        ),
        RefusalCode::ReservedPrefix => (
            "Keys under /mas-monitor/ are written by the cluster alone.",
            "/mas-monitor/ 下的键仅由集群写入。",
        ),
        RefusalCode::UnknownInstance => ("There is no instance {instance}.", "实例 {instance} 不存在。"),
        RefusalCode::TooManyObjects => ("There are too many objects; delete some.", "对象过多；请删除一部分。"),
        RefusalCode::ResendOutsideWindow => (
            "The outcome of this request is no longer known, and it was not carried out again; look before repeating it.",
            "该请求的结果已无法确认，且未再次执行；请核实后再重试。",
        ),
        RefusalCode::UnknownCommand => (
            "This version does not know the command; upgrade the node.",
            "当前版本不认识该命令；请升级节点。",
        ),
        RefusalCode::FirstInstance => (
            "{instance} is the instance that the cluster began with; it stays. Delete its applications instead.",
            "{instance} 是集群的初始实例，不能删除；请改为删除其中的应用。",
        ),
        RefusalCode::InvalidBatch => (
            "Name 1 to {maximum} different monitors of one instance.",
            "请指定同一实例中 1 到 {maximum} 个不同的监控器。",
        ),
        RefusalCode::StateHashesDiffer => (
            "The nodes' states differ and no majority agrees; nothing is written until one is found to be right. Keep copies \
             of the data directories, restart the nodes one after another, and restore a backup if they still differ.",
            "各节点状态不一致且无法形成多数；在确认正确状态之前拒绝写入。请备份数据目录，逐个重启节点；若仍不一致，请从备份恢复。",
        ),
        RefusalCode::NothingToSwitch => (
            "{application} has no monitor that can be switched; create one and save its connection pool first.",
            "应用 {application} 没有可切换的监控器；请先创建监控器并保存连接池。",
        ),
        RefusalCode::PauseReasonRequired => (
            "A pause of all automatic switching needs a reason; give one.",
            "暂停全部自动切换必须填写原因。",
        ),
        RefusalCode::NoActiveSide => (
            "{monitor} only alerts and has no active data center; leave it out.",
            "{monitor} 仅用于告警，没有活跃数据中心；请去掉该监控器。",
        ),
        RefusalCode::TestOverrideReasonRequired => (
            "A monitor that is saved without its connection test needs a reason; give one, or have the test made.",
            "不经连接测试保存监控器必须填写原因；请填写原因，或执行连接测试。",
        ),
        RefusalCode::ConnectionTestOwed => (
            "The monitor has not passed its connection test and is not saved; correct it, or override the test with a reason.",
            "监控器未通过连接测试，未保存；请更正配置，或填写原因后跳过测试。",
        ),
        RefusalCode::SecretNeededAgain => (
            "A stored password does not follow a monitor to other servers or to another encryption; give it again.",
            "更改服务器地址或加密方式时，不会沿用已保存的密码；请重新填写。",
        ),
        RefusalCode::NodeIdTaken => (
            "The node id {node} is another node's, or was one's that has been removed; join again to be given the next free one.",
            "节点编号 {node} 已被其他节点占用，或曾属于已移除的节点；请重新加入以获得下一个可用编号。",
        ),
        RefusalCode::OutsideTokenScope => (
            "Your API token is bound to other applications; use a token for this one, or log in.",
            "该 API 令牌仅限其他应用；请使用适用于此应用的令牌，或登录后操作。",
        ),
    }
}

fn event(code: EventCode) -> Texts {
    match code {
        EventCode::Unspecified => ("An unknown event.", "未知事件。"),
        EventCode::ClusterBootstrapped => (
            "The cluster {cluster_id} was bootstrapped with {nodes} nodes.",
            "集群 {cluster_id} 已初始化，节点数 {nodes}。",
        ),
        EventCode::DatabaseAbnormal => (
            "The database in {data_center} is abnormal; data of this data center may be lost. Look at the server and at the \
             network path to it. Finding: {finding} {text}",
            "{data_center} 的数据库状态异常，该数据中心的数据可能丢失；请检查服务器及网络链路。检测结果：{finding} {text}",
        ),
        EventCode::DatabaseRecovered => (
            "The database in {data_center} has recovered.",
            "{data_center} 的数据库状态已恢复。",
        ),
        EventCode::MonitorInitFailed => (
            "Monitoring of {data_center} could not begin; check address, account and database name. Finding: {finding} {text}",
            "{data_center} 初始化监控失败；请检查地址、账号和数据库名。检测结果：{finding} {text}",
        ),
        EventCode::MonitorStarted => ("Monitoring of {data_center} has begun.", "{data_center} 已开始监控。"),
        EventCode::LoginRefused => (
            "Node {node} was refused the login to {data_center}; the state is kept. Correct the account. {text}",
            "节点 {node} 登录 {data_center} 被拒绝，状态保持不变；请更正账号。{text}",
        ),
        EventCode::Failover => (
            "Automatic switch from {from} to {to}, epoch {epoch}. Acknowledge it once it was looked into.",
            "自动切换：{from} → {to}，纪元 {epoch}。核实后请确认。",
        ),
        EventCode::FailoverWithheld => (
            "An automatic switch is due but withheld: {reason}. Look at the monitor and switch by hand if need be.",
            "自动切换被抑制：{reason}。请查看监控器，必要时手动切换。",
        ),
        EventCode::Switchover => (
            "Switchover from {from} to {to}, epoch {epoch}. {reason}",
            "切换：{from} → {to}，纪元 {epoch}。{reason}",
        ),
        EventCode::Switchback => (
            "Switchback from {from} to {to}, epoch {epoch}. {reason}",
            "回切：{from} → {to}，纪元 {epoch}。{reason}",
        ),
        EventCode::WorkerLapsed => (
            "Node {node} no longer reports and is no voter; look at the node and its network.",
            "节点 {node} 已停止上报，不再参与表决；请检查该节点及其网络。",
        ),
        EventCode::WorkerSeen => ("Node {node} reports again.", "节点 {node} 恢复上报。"),
        EventCode::LeaderChanged => (
            "Node {node} leads from term {term} on.",
            "节点 {node} 成为领导者，任期 {term}。",
        ),
        EventCode::StateDiverged => (
            "The state of node {node} differs from the others' at index {index}; it fences itself. Replace its data directory.",
            "节点 {node} 的状态在索引 {index} 处与其他节点不一致，已自我隔离；请重建其数据目录。",
        ),
        EventCode::StateHashMajorityLost => (
            "No majority of the nodes has the same state at index {index}; writes are refused until it is clear which one is right.",
            "在索引 {index} 处没有多数节点的状态一致；在确认正确状态之前拒绝写入。",
        ),
        EventCode::KeyspaceFull => (
            "The keyspace of instance {instance} has reached its quota of {quota_mib} MiB: clients can only read and delete. \
             Delete keys, compact, then disarm the alarm NOSPACE (etcdctl alarm disarm).",
            "实例 {instance} 的键空间已达配额 {quota_mib} MiB，客户端只能读取和删除；请删除键并压缩，然后解除 NOSPACE 告警。",
        ),
        EventCode::DiskShort => (
            "The disk of node {node} runs full ({free_mib} MiB free): clients of every instance can only read and delete \
             until there is space again. Free some, or move the data directory to a larger disk.",
            "节点 {node} 的磁盘空间不足（剩余 {free_mib} MiB），恢复之前所有实例的客户端只能读取和删除；请释放空间或更换更大的磁盘。",
        ),
        EventCode::DiskRecovered => (
            "The disk of node {node} has space again ({free_mib} MiB free).",
            "节点 {node} 的磁盘空间已恢复（剩余 {free_mib} MiB）。",
        ),
        EventCode::InstanceFailed => (
            "Node {node} cannot open the KV port of instance {instance}: {problem}. It tries again by itself.",
            "节点 {node} 无法打开实例 {instance} 的 KV 端口：{problem}。节点会自动重试。",
        ),
        EventCode::SwitchingPaused => (
            "{actor} paused all automatic switching ({scope}): {reason} Lift the pause when the reason is gone.",
            "{actor} 暂停了全部自动切换（{scope}）：{reason} 原因消除后请恢复。",
        ),
        EventCode::SwitchingResumed => (
            "{actor} lifted the pause of automatic switching ({scope}). {reason}",
            "{actor} 恢复了自动切换（{scope}）。{reason}",
        ),
        EventCode::MaintenanceBegun => (
            "A maintenance window ({scope}) has begun: automatic switches are withheld. {reason}",
            "维护窗口（{scope}）已开始，期间不自动切换。{reason}",
        ),
        EventCode::MaintenanceEnded => (
            "A maintenance window ({scope}) has ended: automatic switches happen again. {reason}",
            "维护窗口（{scope}）已结束，恢复自动切换。{reason}",
        ),
        EventCode::PartitionStateChanged => (
            "The site {site} is now {to}, after {from} ({finding}).",
            "分区 {site} 的状态由 {from} 变为 {to}（{finding}）。",
        ),
        EventCode::SiteSwitchSet => (
            "{actor} turned the datacenter-level automatic switch {state}.",
            "{actor} 将数据中心级自动切换设为 {state}。",
        ),
        EventCode::NodeDeparting => (
            "Node {node} goes away on purpose; its silence is no lost site. {reason}",
            "节点 {node} 计划内离开，其静默不视为站点丢失。{reason}",
        ),
        EventCode::NodeReturned => ("Node {node} is back.", "节点 {node} 已返回。"),
        EventCode::SubHealthBegan => (
            "{data_center} answers, but something ails it: {condition}. {text}",
            "{data_center} 可访问，但处于亚健康状态：{condition}。{text}",
        ),
        EventCode::SubHealthEnded => (
            "{data_center} is rid of a sub-health: {condition}.",
            "{data_center} 的亚健康状态已消除：{condition}。",
        ),
        EventCode::Acknowledged => (
            "{actor} acknowledged the last automatic switch. {comment}",
            "{actor} 已确认上一次自动切换。{comment}",
        ),
    }
}

/// (code, English, Chinese) of audit records.
const AUDIT: [(&str, &str, &str); 36] = [
    (
        "override-connection-test",
        "saved a monitor without its connection test: {reason}",
        "未经连接测试保存监控器：{reason}",
    ),
    (
        "set-keyspace-quota",
        "changed the quota of a keyspace",
        "修改键空间配额",
    ),
    ("bootstrap", "bootstrapped the cluster", "初始化集群"),
    ("create-application", "created an application", "创建应用"),
    ("update-application", "changed an application", "修改应用"),
    ("delete-application", "deleted an application", "删除应用"),
    ("create-instance", "created an instance", "创建实例"),
    ("update-instance", "changed an instance", "修改实例"),
    ("delete-instance", "deleted an instance", "删除实例"),
    (
        "issue-client-certificate",
        "took a client certificate of the instance {instance}",
        "获取实例 {instance} 的客户端证书",
    ),
    ("create-monitor", "created a monitor", "创建监控器"),
    ("update-monitor", "changed a monitor", "修改监控器"),
    ("delete-monitor", "deleted a monitor", "删除监控器"),
    (
        "delete-monitors",
        "asked for the deletion of monitors",
        "请求批量删除监控器",
    ),
    ("set-connection-pool", "saved a connection pool", "保存连接池配置"),
    ("set-read-write", "set the read/write state", "修改读写状态"),
    (
        "acknowledge-monitor",
        "acknowledged an automatic switch",
        "确认自动切换",
    ),
    ("switch", "asked for a switch", "请求切换"),
    (
        "failover",
        "switched automatically from {from} to {to}",
        "自动切换 {from} → {to}",
    ),
    ("switchover", "switched from {from} to {to}", "切换 {from} → {to}"),
    ("switchback", "switched back from {from} to {to}", "回切 {from} → {to}"),
    (
        "set-kind-settings",
        "changed the global settings of {kind}",
        "修改 {kind} 的全局配置",
    ),
    ("set-quotas", "changed the quotas", "修改配额"),
    ("create-user", "created the user {name}", "创建用户 {name}"),
    (
        "set-user-password",
        "changed the password of {name}",
        "修改 {name} 的密码",
    ),
    (
        "create-api-token",
        "created the API token {name}",
        "创建 API 令牌 {name}",
    ),
    (
        "revoke-api-token",
        "revoked the API token {name}",
        "吊销 API 令牌 {name}",
    ),
    ("upsert-node", "set the record of node {node}", "设置节点 {node}"),
    ("kv", "administered a keyspace", "管理键空间"),
    ("pause", "paused all automatic switching", "暂停全部自动切换"),
    ("resume", "lifted the pause of automatic switching", "恢复自动切换"),
    ("create-window", "planned a maintenance window", "创建维护窗口"),
    ("delete-window", "deleted a maintenance window", "删除维护窗口"),
    ("set-site-settings", "changed how sites are watched", "修改分区监控配置"),
    (
        "set-site-switch",
        "set the datacenter-level automatic switch",
        "设置数据中心级自动切换",
    ),
    (
        "announce-departure",
        "announced that node {node} goes away or is back",
        "宣布节点 {node} 离开或返回",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_both_texts() {
        for locale in [Locale::EnUs, Locale::ZhCn] {
            assert!(
                RefusalCode::ALL
                    .iter()
                    .all(|code| !pick(refusal(*code), locale).is_empty())
            );
            assert!(EventCode::ALL.iter().all(|code| !pick(event(*code), locale).is_empty()));
            assert!(audit_codes().all(|code| audit_text(locale, code, &[]) != code));
        }
        for code in RefusalCode::ALL.map(RefusalCode::code) {
            let (en, zh) = (edge::title(Locale::EnUs, code), edge::title(Locale::ZhCn, code));
            assert_ne!(en, zh, "{code} has a title in Chinese");
        }
        for code in ["mismatch", "reserved"] {
            assert_ne!(
                field_text(Locale::ZhCn, code),
                field_text(Locale::ZhCn, "unsupported"),
                "{code}"
            );
        }
    }

    #[test]
    fn parameters_are_filled_in_once() {
        let params = [Param::new("name", "{name} {x")];
        let text = RefusalCode::DuplicateName.text(&params);
        assert_eq!(text, "The name {name} {x is taken already; choose another one.");
    }

    #[test]
    fn locale_of_a_tag() {
        assert_eq!(Locale::of_tag("zh-Hans-CN"), Locale::ZhCn);
        assert_eq!(Locale::of_tag("中"), Locale::EnUs);
        assert_eq!(Locale::of_tag("en-GB"), Locale::EnUs);
    }
}
