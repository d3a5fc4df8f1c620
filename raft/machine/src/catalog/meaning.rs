//! What an event means to who reads it (F1): its name, what it may have done (impact), and where to look (advice).
//!
//! The text of the event itself, with its parameters, is the explanation; see [`event_text`](super::event_text).

use super::{Locale, Texts, pick, render};
use crate::events::{EventCode, Level};
use crate::reply::Param;

/// Name, impact and advice of an event, as its list shows them. An empty impact is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventMeaning {
    pub name: String,
    /// Localised name of the level.
    pub level: &'static str,
    pub impact: &'static str,
    pub advice: &'static str,
}

/// What an event means; `params` name the kind of monitor where that makes a difference.
pub fn event_meaning(locale: Locale, code: EventCode, params: &[Param]) -> EventMeaning {
    let kind = params.iter().find(|param| param.name == "kind");
    let kind = kind.map_or("mysql", |param| param.value.as_str());
    let product = Param::new("product", pick(product(kind), locale));
    EventMeaning {
        name: render(name(code), locale, &[product]),
        level: pick(level(code.level()), locale),
        impact: pick(impact(code, kind), locale),
        advice: pick(advice(code), locale),
    }
}

const NONE: Texts = ("", "");

fn level(level: Level) -> Texts {
    match level {
        Level::Info => ("Info", "提示"),
        Level::Minor => ("Minor", "次要"),
        Level::Major => ("Major", "重要"),
        Level::Critical => ("Critical", "紧急"),
    }
}

/// What a kind of monitor watches, in the names of events.
fn product(kind: &str) -> Texts {
    match kind {
        "redis" => ("Redis", "Redis"),
        "mongodb" => ("MongoDB", "MongoDB"),
        "elasticsearch" => ("Elasticsearch", "Elasticsearch"),
        "api" => ("API", "API"),
        _ => ("Database", "数据库"),
    }
}

fn name(code: EventCode) -> Texts {
    match code {
        EventCode::Unspecified => ("Unknown event", "未知事件"),
        EventCode::ClusterBootstrapped => ("Cluster bootstrapped", "集群已初始化"),
        EventCode::DatabaseAbnormal => ("{product} abnormal", "{product}状态异常"),
        EventCode::DatabaseRecovered => ("{product} recovered", "{product}状态恢复"),
        EventCode::MonitorInitFailed => ("Monitoring could not begin", "初始化监控失败"),
        EventCode::MonitorStarted => ("Monitoring has begun", "监控已开始"),
        EventCode::LoginRefused => ("Login refused", "登录被拒绝"),
        EventCode::Failover => ("Failover", "自动切换"),
        EventCode::FailoverWithheld => ("Failover withheld", "自动切换被抑制"),
        EventCode::Switchover => ("Switchover", "切换"),
        EventCode::Switchback => ("Switchback", "回切"),
        EventCode::WorkerLapsed => ("Node no longer reports", "节点停止上报"),
        EventCode::WorkerSeen => ("Node reports again", "节点恢复上报"),
        EventCode::LeaderChanged => ("Leader changed", "领导者变更"),
        EventCode::StateDiverged => ("State of a node diverged", "节点状态不一致"),
        EventCode::Acknowledged => ("Failover acknowledged", "自动切换已确认"),
        EventCode::StateHashMajorityLost => ("No majority of equal states", "多数节点状态不一致"),
        EventCode::KeyspaceFull => ("Keyspace full", "键空间已满"),
        EventCode::DiskShort => ("Disk space short", "磁盘空间不足"),
        EventCode::DiskRecovered => ("Disk space recovered", "磁盘空间恢复"),
        EventCode::SwitchingPaused => ("Automatic switching paused", "自动切换已暂停"),
        EventCode::SwitchingResumed => ("Automatic switching resumed", "自动切换已恢复"),
        EventCode::MaintenanceBegun => ("Maintenance window begun", "维护窗口开始"),
        EventCode::MaintenanceEnded => ("Maintenance window ended", "维护窗口结束"),
        EventCode::PartitionStateChanged => ("Partition state changed", "多活分区状态发生变化"),
        EventCode::SiteSwitchSet => ("Datacenter-level automatic switch set", "数据中心级自动切换变更"),
        EventCode::NodeDeparting => ("Node departing", "节点计划内离开"),
        EventCode::NodeReturned => ("Node returned", "节点返回"),
        EventCode::SubHealthBegan => ("{product} in sub-health", "{product}亚健康"),
        EventCode::SubHealthEnded => ("{product} sub-health over", "{product}亚健康消除"),
        EventCode::InstanceFailed => ("Instance failed on a node", "实例在节点上创建异常"),
    }
}

fn impact(code: EventCode, kind: &str) -> Texts {
    match code {
        EventCode::DatabaseAbnormal if matches!(kind, "elasticsearch" | "api") => {
            ("The instance may be unavailable.", "实例可能不可用。")
        }
        EventCode::DatabaseAbnormal => ("Data of the data center may be lost.", "该数据中心的数据可能丢失。"),
        EventCode::PartitionStateChanged => (
            "The network state of the partition may have changed.",
            "分区的网络状态可能发生变化。",
        ),
        EventCode::MonitorInitFailed | EventCode::LoginRefused => (
            "The data center is not watched; its failure would not be noticed.",
            "该数据中心未被监控，故障将无法发现。",
        ),
        EventCode::Failover | EventCode::Switchover | EventCode::Switchback => (
            "Applications use the other data center from now on; data that had not been replicated is not there.",
            "应用已改用另一数据中心；尚未复制的数据在该处不存在。",
        ),
        EventCode::FailoverWithheld => (
            "Applications still use the data center that failed.",
            "应用仍在使用故障的数据中心。",
        ),
        EventCode::WorkerLapsed => (
            "One node fewer votes; a further loss may stop the cluster.",
            "参与表决的节点减少；再失去节点可能导致集群停止服务。",
        ),
        EventCode::StateDiverged => (
            "The node has stopped; a further loss may stop the cluster.",
            "该节点已停止；再失去节点可能导致集群停止服务。",
        ),
        EventCode::StateHashMajorityLost => ("Clients cannot write.", "客户端无法写入。"),
        EventCode::KeyspaceFull | EventCode::DiskShort => {
            ("Clients can only read and delete.", "客户端只能读取和删除。")
        }
        EventCode::SwitchingPaused | EventCode::MaintenanceBegun => (
            "A failed data source is not switched automatically.",
            "数据源故障时不会自动切换。",
        ),
        EventCode::SiteSwitchSet => (
            "What the loss of the primary site does has changed.",
            "主站点丢失时的处理方式已变更。",
        ),
        EventCode::NodeDeparting => ("One node fewer until it is back.", "返回之前少一个节点。"),
        EventCode::SubHealthBegan => (
            "Applications may be refused or served slowly; a switch may lose what is not replicated.",
            "应用可能被拒绝或响应变慢；切换可能丢失尚未复制的数据。",
        ),
        EventCode::InstanceFailed => (
            "Clients of the instance cannot use this node.",
            "该实例的客户端无法使用此节点。",
        ),
        EventCode::Unspecified
        | EventCode::ClusterBootstrapped
        | EventCode::DatabaseRecovered
        | EventCode::MonitorStarted
        | EventCode::WorkerSeen
        | EventCode::LeaderChanged
        | EventCode::Acknowledged
        | EventCode::DiskRecovered
        | EventCode::SwitchingResumed
        | EventCode::MaintenanceEnded
        | EventCode::SubHealthEnded
        | EventCode::NodeReturned => NONE,
    }
}

fn advice(code: EventCode) -> Texts {
    match code {
        EventCode::DatabaseAbnormal => (
            "Look at the server, its log, and the network path from the nodes; the monitor shows what each node found.",
            "请检查服务器、其日志以及各节点到它的网络；监控器中可查看各节点的检测结果。",
        ),
        EventCode::DatabaseRecovered => (
            "Check that the data is complete before switching back.",
            "回切前请确认数据完整。",
        ),
        EventCode::MonitorInitFailed | EventCode::LoginRefused => (
            "Check account, password, address and database name, then test the connection.",
            "请检查账号、密码、地址和数据库名，并测试连接。",
        ),
        EventCode::Failover => (
            "Find out why dc1 failed, compare the data, acknowledge the switch, and switch back by hand.",
            "请查明 dc1 故障原因、核对数据、确认切换，然后手动回切。",
        ),
        EventCode::FailoverWithheld => (
            "Look at the reason; switch by hand where the target is good enough.",
            "请查看原因；若目标可用，请手动切换。",
        ),
        EventCode::Switchover | EventCode::Switchback => (
            "See that every application process has followed.",
            "请确认各应用进程均已跟随切换。",
        ),
        EventCode::WorkerLapsed | EventCode::WorkerSeen => (
            "Look at the node, its log, and its links to the others.",
            "请检查该节点、其日志以及与其他节点的链路。",
        ),
        EventCode::PartitionStateChanged => (
            "Look at the nodes of the site and at the links between the sites; an isolated site may keep writing.",
            "请检查该站点的节点及站点间链路；被隔离的站点可能仍在写入。",
        ),
        EventCode::StateDiverged => (
            "Keep a copy of the node's data directory, empty it, and let the node join again.",
            "请备份该节点的数据目录，清空后重新加入。",
        ),
        EventCode::StateHashMajorityLost => (
            "Keep copies of the data directories and restart the nodes one after another.",
            "请备份各数据目录，并逐个重启节点。",
        ),
        EventCode::KeyspaceFull => (
            "Delete keys and compact, then disarm the alarm; or raise the quota.",
            "请删除键并压缩后解除告警，或提高配额。",
        ),
        EventCode::DiskShort => (
            "Free some space, or move the data directory to a larger disk.",
            "请释放空间，或将数据目录迁移到更大的磁盘。",
        ),
        EventCode::SwitchingPaused => ("Lift the pause when its reason is gone.", "原因消除后请恢复自动切换。"),
        EventCode::MaintenanceBegun => ("Delete the window to end it early.", "如需提前结束，请删除维护窗口。"),
        EventCode::SiteSwitchSet => (
            "Configure a witness for the primary site, so that its loss is not mistaken.",
            "请为主站点配置见证地址，以免误判丢失。",
        ),
        EventCode::LeaderChanged => (
            "Nothing to do unless it happens often; then look at links and disks.",
            "无需处理；若频繁发生，请检查链路和磁盘。",
        ),
        EventCode::SubHealthBegan => (
            "Look at connections, disk and replication of the server; the monitor shows what each node found.",
            "请检查服务器的连接数、磁盘和复制状态；监控器中可查看各节点的检测结果。",
        ),
        EventCode::NodeDeparting => ("Bring the node back when the work is done.", "工作完成后请恢复该节点。"),
        EventCode::InstanceFailed => (
            "Stop what listens on the port, or delete the instance and create another.",
            "请停止占用端口的程序，或删除该实例后重新创建。",
        ),
        EventCode::Unspecified
        | EventCode::ClusterBootstrapped
        | EventCode::MonitorStarted
        | EventCode::Acknowledged
        | EventCode::DiskRecovered
        | EventCode::SwitchingResumed
        | EventCode::MaintenanceEnded
        | EventCode::SubHealthEnded
        | EventCode::NodeReturned => ("Nothing to do.", "无需处理。"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_a_name_and_advice_in_both_languages() {
        for code in EventCode::ALL {
            let [en, zh] = [Locale::EnUs, Locale::ZhCn].map(|locale| event_meaning(locale, code, &[]));
            assert!(
                !en.name.is_empty() && !zh.name.is_empty() && en.name != zh.name,
                "{code:?}"
            );
            assert!(!en.advice.is_empty() && !zh.advice.is_empty(), "{code:?}");
            assert_eq!(en.impact.is_empty(), zh.impact.is_empty(), "{code:?}");
        }
    }

    #[test]
    fn a_kind_has_its_own_name_and_impact() {
        let of = |kind: &str| event_meaning(Locale::EnUs, EventCode::DatabaseAbnormal, &[Param::new("kind", kind)]);
        assert_eq!(
            (of("mysql").name.as_str(), of("redis").name.as_str()),
            ("Database abnormal", "Redis abnormal")
        );
        assert_eq!(of("postgresql").impact, of("redis").impact);
        assert_ne!(of("elasticsearch").impact, of("redis").impact);
        let zh = event_meaning(Locale::ZhCn, EventCode::PartitionStateChanged, &[]);
        assert_eq!((zh.name.as_str(), zh.level), ("多活分区状态发生变化", "重要"));
    }
}
