//! In which language the server's texts come: `--language`, else the locale of the environment.

use clap::ValueEnum;

/// Languages of the catalogue.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// English
    #[value(name = "en-US", alias = "en")]
    EnUs,
    /// 简体中文
    #[value(name = "zh-CN", alias = "zh")]
    ZhCn,
}

impl Language {
    /// Language tag (BCP 47).
    pub const fn tag(self) -> &'static str {
        match self {
            Self::EnUs => "en-US",
            Self::ZhCn => "zh-CN",
        }
    }

    /// What `LC_ALL`, `LC_MESSAGES` and `LANG` say, the first that is set deciding as POSIX has it.
    pub fn of_environment() -> Self {
        let value = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self::of_locale(["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().find_map(value).as_deref())
    }

    /// The language of a POSIX locale such as `zh_CN.UTF-8`; English for every other one.
    pub fn of_locale(locale: Option<&str>) -> Self {
        match locale.and_then(|locale| locale.split(['_', '.', '@', '-']).next()) {
            Some("zh") => Self::ZhCn,
            _ => Self::EnUs,
        }
    }
}
