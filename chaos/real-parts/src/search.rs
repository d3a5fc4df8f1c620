//! Elasticsearch and OpenSearch: single nodes, plain or with passwords and TLS.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use reqwest::{Method, StatusCode};

use crate::{Account, ServerProcess, ServerUser, cache};

/// Bound of every request of an administrator.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
const READY_POLL_INTERVAL: Duration = Duration::from_millis(200);
/// A small heap, and a compiler that does not spend minutes on a server that lives for seconds.
const JAVA_OPTIONS: &str = "-Xms256m -Xmx256m -XX:TieredStopAtLevel=1";

/// Reads the cluster's state and nothing else.
pub const MONITOR: Account = Account {
    user: "quorate_mon",
    password: "monitor-pw",
};
const ADMINISTRATOR: Account = Account {
    user: "root_of_tests",
    password: "administrator-pw",
};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// Elasticsearch 8.19.4; its passwords and TLS are optional.
    Elasticsearch,
    /// OpenSearch 2.19.1: as it comes without passwords and TLS; with both where its security plugin is installed.
    OpenSearch,
}

impl Product {
    fn name(self) -> &'static str {
        match self {
            Product::Elasticsearch => "elasticsearch",
            Product::OpenSearch => "opensearch",
        }
    }

    fn installation(self) -> &'static str {
        match self {
            Product::Elasticsearch => "elasticsearch-8.19.4",
            Product::OpenSearch => "opensearch-2.19.1",
        }
    }

    /// The installation with passwords: a plugin's work at OpenSearch.
    fn secured_installation(self) -> &'static str {
        match self {
            Product::Elasticsearch => self.installation(),
            Product::OpenSearch => "opensearch-2.19.1-security",
        }
    }

    /// Prefix of its environment variables.
    fn prefix(self) -> &'static str {
        match self {
            Product::Elasticsearch => "ES",
            Product::OpenSearch => "OPENSEARCH",
        }
    }
}

/// Settings of one node.
#[derive(Clone, Debug)]
pub struct SearchOptions {
    /// Which product.
    pub product: Product,
    /// HTTP and transport port on 127.0.0.1.
    pub ports: [u16; 2],
    /// Passwords are asked for; OpenSearch then needs `tls` too.
    pub passwords: bool,
    /// Certificate and key of the HTTP port, PEM (only with passwords).
    pub tls: Option<(String, String)>,
}

/// One node, a cluster of its own. Dropping it kills the process and leaves the files.
#[derive(Debug)]
pub struct SearchServer {
    directory: PathBuf,
    user: ServerUser,
    options: SearchOptions,
    client: reqwest::Client,
    process: Option<ServerProcess>,
}

impl SearchServer {
    /// Creates configuration and data directory below `directory`; nothing runs yet.
    ///
    /// # Errors
    /// The product is not installed, or the file system fails.
    pub fn init(directory: &Path, options: SearchOptions) -> Result<Self> {
        let user = ServerUser::current()?;
        user.create_directory(directory)?;
        let installation = installation(&user, &options)?;
        let configuration = directory.join("config");
        for name in ["config", "config/jvm.options.d", "data", "logs", "tmp"] {
            user.create_directory(&directory.join(name))?;
        }
        let write = |name: &str, content: &str| -> Result<()> {
            let path = configuration.join(name);
            fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
            user.own(&path)
        };
        let shipped = |name: &str| -> Result<String> {
            let path = installation.join("config").join(name);
            fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        };
        let jvm = shipped("jvm.options")?;
        let jvm: Vec<&str> = jvm
            .lines()
            .filter(|line| !line.contains("gc.log") && !line.contains("hs_err"))
            .collect();
        write("jvm.options", &jvm.join("\n"))?;
        write("log4j2.properties", LOG_SETTINGS)?;
        let product = options.product.name();
        write(&format!("{product}.yml"), &settings(directory, &options))?;
        if options.passwords && options.product == Product::OpenSearch {
            user.create_directory(&configuration.join("opensearch-security"))?;
            for (name, content) in security_plugin(&installation)? {
                write(&format!("opensearch-security/{name}"), &content)?;
            }
        }
        if options.passwords && options.product == Product::Elasticsearch {
            write("users", &users()?)?;
            let (monitor, administrator) = (MONITOR.user, ADMINISTRATOR.user);
            write(
                "users_roles",
                &format!("quorate_mon_role:{monitor}\nsuperuser:{administrator}\n"),
            )?;
            write("roles.yml", "quorate_mon_role:\n  cluster: [ \"monitor\" ]\n")?;
        }
        if let Some((certificate, key)) = &options.tls {
            write("http.crt", certificate)?;
            write("http.key", key)?;
        }
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_danger_accept_invalid_certs(true)
            // Tests of one binary share a server, but each has a runtime of its own, which takes its connections along.
            .pool_max_idle_per_host(0)
            .timeout(REQUEST_TIMEOUT)
            .build()?;
        Ok(Self {
            directory: directory.to_owned(),
            user,
            options,
            client,
            process: None,
        })
    }

    /// Starts the process and returns at once; see [`Self::wait_ready`].
    ///
    /// # Errors
    /// It runs already, or the program cannot be started.
    pub fn start(&mut self) -> Result<()> {
        let product = self.options.product;
        if self.process.as_mut().is_some_and(ServerProcess::is_alive) {
            bail!("{} on port {} runs already", product.name(), self.options.ports[0]);
        }
        let installation = installation(&self.user, &self.options)?;
        let mut command = self.user.command(&installation.join("bin").join(product.name()))?;
        let prefix = product.prefix();
        command
            .current_dir(&self.directory)
            .env("HOME", &self.directory)
            .env("JAVA_HOME", java_home()?)
            .env(format!("{prefix}_JAVA_HOME"), java_home()?)
            .env(format!("{prefix}_PATH_CONF"), self.directory.join("config"))
            .env(format!("{prefix}_TMPDIR"), self.directory.join("tmp"))
            .env(format!("{prefix}_JAVA_OPTS"), JAVA_OPTIONS)
            .env("CLI_JAVA_OPTS", "-XX:TieredStopAtLevel=1 -Xmx64m");
        let name = format!("{} on port {}", product.name(), self.options.ports[0]);
        self.process = Some(ServerProcess::spawn(&name, command, &self.directory.join("log"))?);
        Ok(())
    }

    /// Waits until the cluster answers for its health.
    ///
    /// # Errors
    /// The process ended (with the end of its log) or `timeout` passed.
    pub async fn wait_ready(&mut self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            self.process_mut()?.check_alive()?;
            let answer = self.request(Method::GET, "/_cluster/health", None).await;
            if matches!(answer, Ok((StatusCode::OK, _))) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let log = self.process_mut()?.log_tail();
                bail!(
                    "{} not ready within {timeout:?} ({answer:?}); end of its log:\n{log}",
                    self.address()
                );
            }
            tokio::time::sleep(READY_POLL_INTERVAL).await;
        }
    }

    /// A request of the administrator; `body` is JSON.
    ///
    /// # Errors
    /// No answer within 20 s.
    pub async fn request(&self, method: Method, path: &str, body: Option<&str>) -> Result<(StatusCode, String)> {
        let scheme = if self.options.tls.is_some() { "https" } else { "http" };
        let mut request = self
            .client
            .request(method, format!("{scheme}://{}{path}", self.address()));
        if self.options.passwords {
            request = request.basic_auth(ADMINISTRATOR.user, Some(ADMINISTRATOR.password));
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_owned());
        }
        let response = request
            .send()
            .await
            .with_context(|| format!("{path} of {}", self.address()))?;
        Ok((response.status(), response.text().await?))
    }

    /// Creates an index whose one shard no node may take: the cluster turns red.
    ///
    /// # Errors
    /// The server refuses it.
    pub async fn turn_red(&self) -> Result<()> {
        let nowhere = r#"{"settings":{"number_of_shards":1,"number_of_replicas":0,"index.routing.allocation.require.box":"none"}}"#;
        self.done(Method::PUT, "/red?wait_for_active_shards=0", Some(nowhere))
            .await
    }

    /// Creates an index whose replica has no second node to live on: the cluster turns yellow.
    ///
    /// # Errors
    /// The server refuses it.
    pub async fn turn_yellow(&self) -> Result<()> {
        let lonely = r#"{"settings":{"number_of_shards":1,"number_of_replicas":1}}"#;
        self.done(Method::PUT, "/yellow", Some(lonely)).await
    }

    /// Deletes what [`Self::turn_red`] and [`Self::turn_yellow`] created, if they did.
    ///
    /// # Errors
    /// The server refuses it.
    pub async fn turn_green(&self) -> Result<()> {
        self.done(Method::DELETE, "/red,yellow?ignore_unavailable=true", None)
            .await
    }

    /// Sets or lifts the cluster's write block.
    ///
    /// # Errors
    /// The server refuses it.
    pub async fn set_read_only(&self, read_only: bool) -> Result<()> {
        let value = if read_only { "true" } else { "null" };
        let body = format!(r#"{{"persistent":{{"cluster.blocks.read_only":{value}}}}}"#);
        self.done(Method::PUT, "/_cluster/settings", Some(&body)).await
    }

    async fn done(&self, method: Method, path: &str, body: Option<&str>) -> Result<()> {
        let (status, text) = self.request(method, path, body).await?;
        if !status.is_success() {
            bail!("{path} of {}: {status}: {text}", self.address());
        }
        Ok(())
    }

    /// SIGKILL: connections are refused when this returns.
    ///
    /// # Errors
    /// It was never started.
    pub fn kill(&mut self) -> Result<()> {
        self.process_mut()?.kill()
    }

    /// SIGSTOP: a black hole that still accepts TCP connections.
    ///
    /// # Errors
    /// It does not run.
    pub fn pause(&mut self) -> Result<()> {
        self.process_mut()?.pause()
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// It does not run.
    pub fn resume(&mut self) -> Result<()> {
        self.process_mut()?.resume()
    }

    /// `host:port` of HTTP.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.options.ports[0])
    }

    fn process_mut(&mut self) -> Result<&mut ServerProcess> {
        let port = self.options.ports[0];
        self.process
            .as_mut()
            .with_context(|| format!("the search server on port {port} was never started"))
    }
}

const LOG_SETTINGS: &str = "status = error\nappender.console.type = Console\nappender.console.name = console\n\
     appender.console.layout.type = PatternLayout\n\
     appender.console.layout.pattern = [%d{ISO8601}][%-5p][%-25c{1.}] %marker%m%n\n\
     rootLogger.level = warn\nrootLogger.appenderRef.console.ref = console\n";

fn installation(user: &ServerUser, options: &SearchOptions) -> Result<PathBuf> {
    let product = options.product;
    let directory = match options.passwords {
        true => product.secured_installation(),
        false => product.installation(),
    };
    cache::installed_for(user, directory, &format!("bin/{}", product.name()))
}

fn settings(directory: &Path, options: &SearchOptions) -> String {
    let [http, transport] = options.ports;
    let at = directory.display();
    let mut lines = format!(
        "path.data: {at}/data\npath.logs: {at}/logs\nnetwork.host: 127.0.0.1\nhttp.port: {http}\n\
         transport.port: {transport}\ndiscovery.type: single-node\ncluster.name: quorate-{http}\n\
         cluster.routing.allocation.disk.threshold_enabled: false\n"
    );
    if options.product == Product::Elasticsearch {
        let passwords = options.passwords;
        lines.push_str(&format!(
            "xpack.security.enabled: {passwords}\nxpack.security.autoconfiguration.enabled: false\n"
        ));
    }
    if options.product == Product::OpenSearch && options.passwords {
        lines.push_str(SECURITY_PLUGIN_SETTINGS);
    } else if options.tls.is_some() {
        lines.push_str(
            "xpack.security.http.ssl.enabled: true\nxpack.security.http.ssl.certificate: http.crt\n\
             xpack.security.http.ssl.key: http.key\n",
        );
    }
    lines
}

/// One certificate serves both ports and is its own authority. The security index is made of the files at the first start.
const SECURITY_PLUGIN_SETTINGS: &str = "plugins.security.allow_default_init_securityindex: true\n\
     plugins.security.ssl.transport.pemcert_filepath: http.crt\nplugins.security.ssl.transport.pemkey_filepath: http.key\n\
     plugins.security.ssl.transport.pemtrustedcas_filepath: http.crt\n\
     plugins.security.ssl.transport.enforce_hostname_verification: false\n\
     plugins.security.ssl.http.enabled: true\nplugins.security.ssl.http.pemcert_filepath: http.crt\n\
     plugins.security.ssl.http.pemkey_filepath: http.key\nplugins.security.ssl.http.pemtrustedcas_filepath: http.crt\n\
     plugins.security.authcz.admin_dn: [ \"CN=nobody\" ]\n";

/// The plugin's files: as shipped, but for users, roles and who has which.
fn security_plugin(installation: &Path) -> Result<Vec<(String, String)>> {
    let shipped = installation.join("config/opensearch-security");
    let mut files = Vec::new();
    for entry in fs::read_dir(&shipped).with_context(|| format!("read {}", shipped.display()))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default()
            .to_owned();
        if path.is_file() {
            files.push((name, fs::read_to_string(&path)?));
        }
    }
    let meta = |kind: &str| format!("_meta:\n  type: \"{kind}\"\n  config_version: 2\n");
    let hash = |account: Account| -> Result<String> {
        Ok(bcrypt::hash_with_result(account.password, COST)?.format_for_version(bcrypt::Version::TwoY))
    };
    let users = format!(
        "{}{}:\n  hash: \"{}\"\n{}:\n  hash: \"{}\"\n  backend_roles: [ \"admin\" ]\n",
        meta("internalusers"),
        MONITOR.user,
        hash(MONITOR)?,
        ADMINISTRATOR.user,
        hash(ADMINISTRATOR)?
    );
    let roles = format!(
        "{}quorate_mon_role:\n  cluster_permissions: [ \"cluster:monitor/health\", \"cluster:monitor/main\", \
         \"cluster:monitor/state\" ]\n",
        meta("roles")
    );
    let mapping = format!(
        "{}all_access:\n  backend_roles: [ \"admin\" ]\nquorate_mon_role:\n  users: [ \"{}\" ]\n",
        meta("rolesmapping"),
        MONITOR.user
    );
    let own = [
        ("internal_users.yml", users),
        ("roles.yml", roles),
        ("roles_mapping.yml", mapping),
    ];
    files.retain(|(name, _)| own.iter().all(|(replaced, _)| name != replaced));
    files.extend(own.map(|(name, content)| (name.to_owned(), content)));
    Ok(files)
}

/// Cost of the bcrypt hashes: nobody attacks these.
const COST: u32 = 4;

/// The file realm's users: name and bcrypt, in the dialect that the server reads.
fn users() -> Result<String> {
    let mut lines = String::new();
    for account in [MONITOR, ADMINISTRATOR] {
        let hash = bcrypt::hash_with_result(account.password, COST)?.format_for_version(bcrypt::Version::TwoA);
        lines.push_str(&format!("{}:{hash}\n", account.user));
    }
    Ok(lines)
}

fn java_home() -> Result<PathBuf> {
    let java = fs::canonicalize(crate::find_program(&["java"])?)?;
    let home = java
        .parent()
        .and_then(Path::parent)
        .context("java lies in no bin directory")?;
    Ok(home.to_owned())
}
