//! Texts of the REST edge: what it says before the machine is asked, or when it cannot be asked.
//!
//! One constant per text, so that a text that nobody has cannot be named. `{name}` stands for a parameter.

use super::{Locale, Texts};

/// The request's media type is not JSON.
pub const UNSUPPORTED_MEDIA_TYPE: Texts = (
    "send the body as JSON with `Content-Type: application/json`",
    "请以 JSON 发送请求体，并设置 `Content-Type: application/json`",
);
/// The body could not be read. `{reason}`
pub const BAD_BODY: Texts = ("the body cannot be read: {reason}", "无法读取请求体：{reason}");
/// `{maximum}` bytes are the limit.
pub const BODY_TOO_LARGE: Texts = (
    "the body is larger than {maximum} bytes; send less in one request",
    "请求体超过 {maximum} 字节；请分次发送",
);
/// The body did not arrive in `{seconds}`.
pub const BODY_TIMED_OUT: Texts = (
    "the body did not arrive within {seconds} s; send it again",
    "请求体未在 {seconds} 秒内到达；请重新发送",
);
/// `{reason}` is the parser's own complaint.
pub const BAD_JSON: Texts = ("the body is no valid JSON: {reason}", "请求体不是有效的 JSON：{reason}");
/// A JSON array or something else stands where an object must.
pub const BODY_NOT_AN_OBJECT: Texts = ("the body must be a JSON object", "请求体必须是 JSON 对象");
/// The path is not UTF-8 or otherwise unreadable. `{reason}`
pub const BAD_PATH: Texts = ("the path cannot be read: {reason}", "无法识别路径：{reason}");
/// An edit without `If-Match`.
pub const IF_MATCH_REQUIRED: Texts = (
    "read the object and send its ETag in `If-Match`, so that nobody's change is overwritten unseen",
    "请先读取对象，并在 `If-Match` 中带上其 ETag，以免覆盖他人的修改",
);
/// An `If-Match` that is no single ETag.
pub const BAD_IF_MATCH: Texts = (
    "`If-Match` must be one ETag as it was read, for example \"3\" with its quotes",
    "`If-Match` 必须是读取到的单个 ETag，例如带引号的 \"3\"",
);
/// A `Last-Event-ID` that is no sequence.
pub const BAD_LAST_EVENT_ID: Texts = (
    "`Last-Event-ID` must be the `id` of an event of this stream, a whole number; leave it out to follow from now on",
    "`Last-Event-ID` 必须是本事件流中某个事件的 `id`（整数）；不带该请求头则从当前开始",
);
/// Several fields are wrong; each is listed.
pub const INVALID_FIELDS: Texts = (
    "the request has fields that are not acceptable; see `errors`, correct them and send it again",
    "请求中有不可接受的字段；请按 `errors` 更正后重新发送",
);
/// No object `{id}` of the kind `{what}`.
pub const NOT_FOUND: Texts = (
    "there is no {what} `{id}` that you may see; list the {what}s to find its id",
    "没有您可以查看的 {what} `{id}`；请在列表中查找其 ID",
);
/// The path leads nowhere. `{path}`
pub const UNKNOWN_ROUTE: Texts = (
    "there is no route `{path}`; /api/v1/openapi.json lists all of them",
    "没有路径 `{path}`；全部路径见 /api/v1/openapi.json",
);
/// `{path}` does not take `{method}`.
pub const UNKNOWN_METHOD: Texts = (
    "`{path}` does not take {method}; /api/v1/openapi.json lists what it takes",
    "`{path}` 不支持 {method}；支持的方法见 /api/v1/openapi.json",
);
/// No credential.
pub const NO_CREDENTIAL: Texts = (
    "log in at /api/v1/login and send the session, or an API token, as `Authorization: Bearer …`",
    "请在 /api/v1/login 登录，并以 `Authorization: Bearer …` 发送会话或 API 令牌",
);
/// The session is of no cluster, or was changed.
pub const SESSION_FORGED: Texts = (
    "this is no session of this cluster; log in",
    "这不是本集群的会话；请登录",
);
/// The session is over.
pub const SESSION_EXPIRED: Texts = ("the session has expired; log in again", "会话已过期；请重新登录");
/// Clocks differ.
pub const SESSION_FROM_THE_FUTURE: Texts = (
    "the session begins in the future of this node's clock; check the time on the nodes, or log in again here",
    "会话的开始时间晚于本节点的时钟；请检查各节点时间，或在此重新登录",
);
/// The user was changed after the session began.
pub const USER_CHANGED: Texts = (
    "the user's password or role has changed; log in again",
    "用户的密码或角色已变更；请重新登录",
);
/// The token is unknown.
pub const TOKEN_UNKNOWN: Texts = (
    "there is no such API token, or it was revoked; create another one",
    "API 令牌不存在或已被吊销；请重新创建",
);
/// The token is over.
pub const TOKEN_EXPIRED: Texts = (
    "the API token has expired; create another one",
    "API 令牌已过期；请重新创建",
);
/// User or password is wrong.
pub const LOGIN_REFUSED: Texts = (
    "user or password is wrong; check both and try again",
    "用户名或密码错误；请核对后重试",
);
/// Too many logins for one user from one address. `{seconds}`
pub const LOGIN_LIMITED_PAIR: Texts = (
    "too many login attempts for this user from this address; wait {seconds} s and try again",
    "该用户从此地址登录过于频繁；请等待 {seconds} 秒后重试",
);
/// Too many logins from one address. `{seconds}`
pub const LOGIN_LIMITED_SOURCE: Texts = (
    "too many login attempts from this address; wait {seconds} s and try again",
    "从此地址登录过于频繁；请等待 {seconds} 秒后重试",
);
/// The hashing queue is full.
pub const PASSWORDS_BUSY: Texts = (
    "too many passwords are being checked on this node; try again in a moment",
    "本节点正在校验的密码过多；请稍后重试",
);
/// A password is shorter than `{minimum}` characters.
pub const PASSWORD_TOO_SHORT: Texts = (
    "a password needs at least {minimum} characters",
    "密码至少需要 {minimum} 个字符",
);
/// A KV user's password. `{least}` to `{most}` bytes.
pub const KV_PASSWORD_LENGTH: Texts = (
    "the password of a KV user has {least} to {most} bytes",
    "KV 用户的密码为 {least} 到 {most} 字节",
);
/// A password is longer than `{maximum}` bytes.
pub const PASSWORD_TOO_LONG: Texts = ("a password has at most {maximum} bytes", "密码最多 {maximum} 字节");
/// `{least}` to `{most}` seconds.
pub const TOKEN_LIFE: Texts = (
    "a token lives {least} to {most} seconds",
    "令牌有效期为 {least} 到 {most} 秒",
);
/// A token made with a token.
pub const TOKEN_OUTLIVES_ITS_MAKER: Texts = (
    "a token made with a token ends no later than that one; log in to make a longer one",
    "用令牌创建的令牌不得晚于原令牌到期；如需更长有效期请登录后创建",
);
/// A page of 1 to `{maximum}`.
pub const PAGE_LIMIT: Texts = ("a page has 1 to {maximum} entries", "每页 1 到 {maximum} 条");
/// A cursor that was not handed out for this list.
pub const BAD_CURSOR: Texts = (
    "pass `next_cursor` of the page before, unchanged",
    "请原样传入上一页的 `next_cursor`",
);
/// A time that is none.
pub const BAD_TIME: Texts = (
    "a time looks like 2026-01-31T08:00:00Z",
    "时间格式如 2026-01-31T08:00:00Z",
);
/// The loss of a site does not stop what is cut off with it. `{site}`
pub const ISOLATED_SITE: Texts = (
    "{site} is lost: an isolated site may keep writing; clients that reach no node keep their last value",
    "{site} 已丢失：被隔离的站点可能仍在写入；无法连接任何节点的客户端保持最后的值",
);
/// The datacenter-level automatic switch without a witness. `{site}`
pub const NO_WITNESS: Texts = (
    "{site} has no witness: the silence of its nodes alone makes it count as lost; configure its gateway or another address \
     of the site",
    "{site} 没有见证地址：仅凭其节点静默即视为丢失；请配置其网关或该站点的其他地址",
);
/// More than one scope of a maintenance window.
pub const ONE_SCOPE: Texts = (
    "name one of instance, application and monitor, or none of them for the whole cluster",
    "请只指定实例、应用、监控器之一；都不指定则为整个集群",
);
/// A filter that is none of `{values}`.
pub const ONE_OF: Texts = ("one of: {values}", "可选值：{values}");
/// The application of a new monitor is not there.
pub const NO_SUCH_APPLICATION: Texts = ("there is no such application in the instance", "实例中没有该应用");
/// A batch of 1 to `{maximum}` monitors.
pub const BATCH_SIZE: Texts = ("name 1 to {maximum} monitors", "请指定 1 到 {maximum} 个监控器");
/// An id that is none.
pub const BAD_ID: Texts = ("an id is 32 hexadecimal digits", "ID 应为 32 位十六进制数字");
/// No pool, so no SDK configuration.
pub const NO_CONNECTION_POOL: Texts = (
    "the monitor has no connection pool, so it has no SDK keys yet; save one first",
    "监控器尚未配置连接池，因此没有 SDK 键；请先保存连接池配置",
);
/// No room for another stream.
pub const TOO_MANY_STREAMS: Texts = (
    "this node has no room for another event stream; try another node, or close one",
    "本节点的事件流已达上限；请连接其他节点，或关闭一个事件流",
);
/// Other connection tests are running.
pub const TESTS_BUSY: Texts = (
    "other connection tests are running on this node; try again in a moment",
    "本节点正在执行其他连接测试；请稍后重试",
);
/// A login was refused, and the source may be locked. `{time}` as hh:mm, UTC
pub const SOURCE_LOCKED: Texts = (
    "the source may stay locked until {time} UTC, also for a password that was corrected",
    "源可能在 {time}（UTC）之前保持锁定，即使密码已更正",
);
/// A switchover away from a side that is well. `{data_center}`
pub const SOURCE_HEALTHY: Texts = (
    "{data_center} is healthy: the switch leaves a side that serves",
    "{data_center} 状态正常：切换将离开一个可用的数据中心",
);
/// The target is behind. `{data_center}`, `{behind}`
pub const TARGET_LAGS: Texts = (
    "{data_center} is behind by {behind}: what is not applied there is missing after the switch",
    "{data_center} 复制延迟 {behind}：尚未应用的数据在切换后缺失",
);
/// The target's replication stands still. `{data_center}`, `{text}`
pub const TARGET_REPLICATION_BROKEN: Texts = (
    "the replication of {data_center} stands still, and nobody knows how much is missing: {text}",
    "{data_center} 的复制已停止，缺失的数据量未知：{text}",
);
/// The target takes no writes. `{data_center}`
pub const TARGET_READ_ONLY: Texts = (
    "{data_center} takes no writes; make it writable before the switch, or applications fail there",
    "{data_center} 为只读；请在切换前使其可写，否则应用写入将失败",
);
/// A stampede would be refused. `{data_center}`, `{free}`, `{needed}`
pub const HEADROOM_SHORT: Texts = (
    "{data_center} can take {free} more connections, and the side that is active now has {needed}: raise its limit, or SDKs \
     that are refused keep it out for 60 s",
    "{data_center} 仅能再接受 {free} 个连接，而当前活跃侧有 {needed} 个：请提高上限，否则被拒绝的 SDK 会将其排除 60 秒",
);
/// The target is not readable as SDKs see it. `{data_center}`
pub const TARGET_NOT_READABLE: Texts = (
    "{data_center} is not readable since a failover and stays so; make it readable, or switch with `restore_readable`",
    "{data_center} 自自动切换后不可读且保持不变；请设为可读，或切换时使用 `restore_readable`",
);
/// A monitor is not saved. `{failed}` of `{tried}` attempts.
pub const TEST_FAILED: Texts = (
    "the monitor is not saved: {failed} of {tried} attempts of the connection test failed, see `errors`; correct the \
     addresses or the account, or save with `connection_test.override` and a reason",
    "监控器未保存：连接测试 {tried} 次尝试中有 {failed} 次失败，详见 `errors`；请更正地址或账号，或以 `connection_test.override` 注明原因后跳过测试",
);
/// One attempt of a connection test. `{node}`, `{address}`, `{stage}`, `{text}`
pub const TEST_ATTEMPT_FAILED: Texts = (
    "from node {node}, {address} fails at {stage}: {text}",
    "从节点 {node} 连接 {address} 在 {stage} 阶段失败：{text}",
);
/// `{maximum}` addresses at most.
pub const TEST_ADDRESSES: Texts = ("name 1 to {maximum} addresses", "请指定 1 到 {maximum} 个地址");
/// An address that is none.
pub const TEST_ADDRESS: Texts = (
    "an address is `host:port` with a port from 1 to 65535",
    "地址格式为 `主机:端口`，端口 1 到 65535",
);
/// The access timeout is 100 to `{maximum}` ms.
pub const TEST_TIMEOUT: Texts = (
    "the access timeout of a test is 100 to {maximum} ms",
    "测试的访问超时为 100 到 {maximum} 毫秒",
);
/// Neither a password nor a monitor that has one.
pub const TEST_PASSWORD: Texts = (
    "send the password, or name a `monitor` whose stored password is to be used",
    "请提供密码，或指定使用其已存密码的 `monitor`",
);
/// An account or database name that no server takes.
pub const TEST_NAME: Texts = (
    "1 to {maximum} characters without control characters",
    "1 到 {maximum} 个字符，不含控制字符",
);
/// A secret for something that has none.
pub const NO_SECRET_HERE: Texts = (
    "nothing takes this secret: a passwordless side has no password, and only sentinels have one of their own",
    "此处不能设置密码：免密的数据中心没有密码，仅哨兵模式有哨兵密码",
);
/// Exactly one section of a kind.
pub const ONE_KIND: Texts = (
    "send the section of exactly one kind: mysql, oracle, postgresql, redis, mongodb, elasticsearch or api",
    "请提供且仅提供一种类型的配置：mysql、oracle、postgresql、redis、mongodb、elasticsearch 或 api",
);
/// Global times of a kind that counts attempts.
pub const NO_TIMES: Texts = (
    "this kind counts answers and failures in a row; only the health precision is global",
    "该类型按连续成功与失败次数判定；仅健康精度为全局配置",
);
/// A global time that was left out.
pub const TIME_NEEDED: Texts = ("say how many milliseconds", "请指定毫秒数");
/// A kind that publishes nothing to SDKs.
pub const NO_SDK_CONFIGURATION: Texts = (
    "monitors of this kind publish nothing to SDKs; there is no configuration to copy",
    "该类型的监控器不向 SDK 发布配置",
);
/// A node did not answer in time. `{seconds}`
pub const NODE_SILENT: Texts = (
    "the node did not answer within {seconds} s; look at the node and its network",
    "节点在 {seconds} 秒内未应答；请检查该节点及其网络",
);
/// A node answered with an error. `{reason}`
pub const NODE_FAILED: Texts = ("there is no report of the node: {reason}", "没有该节点的报告：{reason}");
/// No leader.
pub const NO_LEADER: Texts = (
    "no leader: this node has lost contact with a quorum; try another node",
    "没有领导者：本节点与多数节点失联；请连接其他节点",
);
/// The deadline ran out.
pub const TIMED_OUT: Texts = ("the request timed out", "请求超时");
/// The outcome is not known.
pub const OUTCOME_UNKNOWN: Texts = (
    "the request timed out, possibly because the previous leader was lost; look whether the change was made before you \
     send it again",
    "请求超时，可能因为原领导者丢失；重新发送前请核实更改是否已生效",
);
/// The proposal queue is full.
pub const TOO_MANY_REQUESTS: Texts = (
    "too many requests: the proposal queue is full; retry later",
    "请求过多，提案队列已满；请稍后重试",
);
/// The node stops.
pub const STOPPING: Texts = ("this node is stopping", "本节点正在停止");
/// The leader could not. `{reason}`
pub const LEADER_FAILED: Texts = ("the leader answered: {reason}", "领导者应答：{reason}");

/// Chinese titles of problems; the English one is the code's own words.
const TITLES: &[(&str, &str)] = &[
    ("not-bootstrapped", "集群未初始化"),
    ("already-bootstrapped", "集群已初始化"),
    ("permission-denied", "无权操作"),
    ("credentials-changed", "凭据已变更"),
    ("outside-token-scope", "超出令牌范围"),
    ("not-found", "对象不存在"),
    ("duplicate-name", "名称重复"),
    ("generation-conflict", "版本冲突"),
    ("quota-exceeded", "超出配额"),
    ("invalid-spec", "请求无效"),
    ("invalid-batch", "批量请求无效"),
    ("node-id-taken", "节点编号已被占用"),
    ("first-instance", "初始实例不能删除"),
    ("has-monitors", "仍有监控器"),
    ("feature-disabled", "功能点未启用"),
    ("target-abnormal", "目标状态异常"),
    ("already-active", "已是活跃数据中心"),
    ("reason-required", "必须填写原因"),
    ("no-connection-pool", "未配置连接池"),
    ("nothing-to-switch", "没有可切换的监控器"),
    ("pause-reason-required", "暂停必须填写原因"),
    ("no-active-side", "没有活跃数据中心"),
    ("test-override-reason-required", "跳过连接测试必须填写原因"),
    ("connection-test-failed", "连接测试未通过"),
    ("secret-needed-again", "请重新填写密码"),
    ("fence-unsupported", "不支持隔离"),
    ("not-of-this-kind", "该类型不支持"),
    ("switch-in-progress", "切换进行中"),
    ("nothing-to-acknowledge", "没有待确认的切换"),
    ("unknown-instance", "实例不存在"),
    ("resend-outside-window", "结果未知"),
    ("stale-report", "上报已过期"),
    ("stale-term", "任期已过期"),
    ("state-hashes-differ", "各节点状态不一致"),
    ("unsupported-media-type", "不支持的媒体类型"),
    ("bad-body", "请求体无法读取"),
    ("bad-json", "JSON 无效"),
    ("body-too-large", "请求体过大"),
    ("body-timed-out", "请求体超时"),
    ("bad-path", "路径无效"),
    ("if-match-required", "缺少 If-Match"),
    ("bad-if-match", "If-Match 无效"),
    ("bad-last-event-id", "Last-Event-ID 无效"),
    ("unknown-route", "路径不存在"),
    ("method-not-allowed", "方法不允许"),
    ("unauthenticated", "未认证"),
    ("login-refused", "登录被拒绝"),
    ("rate-limited", "请求过于频繁"),
    ("busy", "节点繁忙"),
    ("no-leader", "没有领导者"),
    ("outcome-unknown", "结果未知"),
];

/// Title of a problem: a few words that follow from its code alone.
pub fn title(locale: Locale, code: &str) -> String {
    let chinese = TITLES.iter().find(|(known, _)| *known == code);
    if let (Locale::ZhCn, Some((_, text))) = (locale, chinese) {
        return (*text).to_owned();
    }
    let words = code.replace('-', " ");
    let mut letters = words.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}
