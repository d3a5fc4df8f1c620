//! What is wrong with a single field, by its code.

use super::{Locale, pick};

/// What the code of a field problem means.
pub fn field_text(locale: Locale, code: &str) -> &'static str {
    let texts = match code {
        "required" => ("this field is required", "此项必填"),
        "too-long" => ("the text is too long", "内容过长"),
        "too-many" => ("too many entries", "条目过多"),
        "invalid-characters" => ("characters that are not allowed", "包含不允许的字符"),
        "invalid-name" => ("not a valid name", "名称无效"),
        "invalid-address" => ("not a valid address host:port", "地址无效，应为 主机:端口"),
        "invalid-secret" | "invalid-hash" => ("not a valid secret", "密文无效"),
        "out-of-range" => ("outside of the allowed range", "超出允许范围"),
        "duplicate" | "duplicate-field" => ("given twice", "重复"),
        "unknown-field" => ("there is no such field", "没有此字段"),
        "unknown-parameter" => ("there is no such parameter", "没有此参数"),
        "missing-field" => ("this field is missing", "缺少此字段"),
        "wrong-type" => ("a value of another type is expected", "值的类型不正确"),
        "unknown-value" => ("this is none of the values that are possible", "取值不在允许范围内"),
        "bad-parameter" => ("the parameter cannot be understood", "参数无法识别"),
        "bad-id" => ("an id is 32 hexadecimal digits", "ID 应为 32 位十六进制数字"),
        "bad-address" => ("not a valid address host:port", "地址无效，应为 主机:端口"),
        "not-found" => ("there is no such object that you may see", "对象不存在或无权查看"),
        "same-address" => ("both data centers have the same address", "两个数据中心的地址相同"),
        "invalid-path" => ("not a valid path", "路径无效"),
        "invalid-certificate" => ("not a valid certificate in PEM", "不是有效的 PEM 证书"),
        "fixed" => ("cannot be changed", "不可修改"),
        "mismatch" => ("not what it has to agree with", "与要求的内容不一致"),
        "reserved" => ("reserved by the cluster itself", "系统保留，不可使用"),
        "needed-again" => (
            "give it again: the stored one goes only where it went before",
            "请重新填写：已保存的密码不会发往其他服务器",
        ),
        _ => ("not supported", "不支持"),
    };
    pick(texts, locale)
}
