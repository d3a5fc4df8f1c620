//! System packages that building and testing need, and how they are installed.

use std::process::Command;

use anyhow::{Result, bail};

use crate::steps::{find_program, output, run};

/// A package with the way to tell that it is there.
struct Package {
    name: &'static str,
    why: &'static str,
    present: fn() -> bool,
}

const PACKAGES: &[Package] = &[
    Package {
        name: "g++",
        why: "builds RocksDB and links it",
        present: || find_program("g++").is_some(),
    },
    Package {
        name: "libclang-dev",
        why: "reads RocksDB's headers (bindgen)",
        present: libclang_present,
    },
    Package {
        name: "cmake",
        why: "builds aws-lc, the cryptography of rustls",
        present: || find_program("cmake").is_some(),
    },
    Package {
        name: "make",
        why: "builds RocksDB",
        present: || find_program("make").is_some(),
    },
    Package {
        name: "mariadb-server",
        why: "the real database of the demo and of the tests",
        present: || find_program("mariadbd").is_some() && find_program("mariadb-install-db").is_some(),
    },
    Package {
        name: "postgresql-15",
        why: "a real PostgreSQL for the demo and the tests",
        present: || std::path::Path::new("/usr/lib/postgresql/15/bin/initdb").is_file(),
    },
    Package {
        name: "redis-server",
        why: "a real Redis for the demo and the tests",
        present: || find_program("redis-server").is_some() && find_program("redis-cli").is_some(),
    },
    Package {
        name: "redis-sentinel",
        why: "real sentinels for the tests",
        present: || find_program("redis-sentinel").is_some(),
    },
    Package {
        name: "faketime",
        why: "gives one node a wrong clock in the tests",
        present: || find_program("faketime").is_some(),
    },
    Package {
        name: "maven",
        why: "fetches the Elasticsearch and OpenSearch of the tests",
        present: || find_program("mvn").is_some(),
    },
    Package {
        name: "default-jre-headless",
        why: "runs them",
        present: || find_program("java").is_some(),
    },
    Package {
        name: "unzip",
        why: "unpacks them",
        present: || find_program("unzip").is_some(),
    },
    Package {
        name: "python3-venv",
        why: "brings a server of MongoDB's protocol, and Go where the machine has none, from PyPI",
        present: || output(Command::new("python3").args(["-c", "import ensurepip"])).is_ok(),
    },
];

fn libclang_present() -> bool {
    let libraries = [
        "/usr/lib",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/local/lib",
    ];
    let versions = (11..=25).map(|version| format!("/usr/lib/llvm-{version}/lib"));
    std::env::var_os("LIBCLANG_PATH").is_some()
        || libraries
            .iter()
            .map(|path| path.to_string())
            .chain(versions)
            .any(|directory| {
                std::fs::read_dir(directory)
                    .into_iter()
                    .flatten()
                    .flatten()
                    .any(|entry| is_libclang(&entry.file_name().to_string_lossy()))
            })
}

/// Whether a file is the library that bindgen loads. The C++ library beside it, `libclang-cpp`, comes with LLVM alone and is of no use to it.
fn is_libclang(name: &str) -> bool {
    name.starts_with("libclang.so")
        || name.starts_with("libclang-") && name.contains(".so") && !name.starts_with("libclang-cpp")
}

/// Installs what is missing, or says which one line to run.
pub fn install_missing() -> Result<()> {
    let missing: Vec<&Package> = PACKAGES.iter().filter(|package| !(package.present)()).collect();
    if missing.is_empty() {
        println!("    system packages: all there");
        return Ok(());
    }
    for package in &missing {
        println!("    missing: {} ({})", package.name, package.why);
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    let line = format!("apt-get install -y --no-install-recommends {}", names.join(" "));
    let Some(prefix) = privileges() else {
        bail!("these packages are missing; please run:\n\n    sudo {line}\n");
    };
    if find_program("apt-get").is_none() {
        bail!(
            "this is no Debian machine; please install with its own package manager: {}",
            names.join(" ")
        );
    }
    keep_servers_from_starting(&prefix)?;
    apt(&prefix, &["update"])?;
    let mut arguments = vec![
        "install",
        "-y",
        "-o",
        "DPkg::Lock::Timeout=300",
        "--no-install-recommends",
    ];
    arguments.extend(&names);
    apt(&prefix, &arguments)?;
    stop_system_mariadb(&prefix);
    let still: Vec<&str> = missing
        .iter()
        .filter(|package| !(package.present)())
        .map(|package| package.name)
        .collect();
    if !still.is_empty() {
        bail!("still missing after the installation: {}", still.join(" "));
    }
    Ok(())
}

/// `Some` with the words to put before a command that needs root; `None` where root cannot be had without asking.
fn privileges() -> Option<Vec<&'static str>> {
    if output(Command::new("id").arg("-u")).is_ok_and(|uid| uid.trim() == "0") {
        return Some(Vec::new());
    }
    let passwordless = Command::new("sudo")
        .args(["-n", "true"])
        .status()
        .is_ok_and(|status| status.success());
    passwordless.then(|| vec!["sudo", "-n"])
}

fn privileged(prefix: &[&str], program: &str) -> Command {
    match prefix.split_first() {
        None => Command::new(program),
        Some((sudo, rest)) => {
            let mut command = Command::new(sudo);
            command.args(rest).arg(program);
            command
        }
    }
}

fn apt(prefix: &[&str], arguments: &[&str]) -> Result<()> {
    run(privileged(prefix, "env")
        .args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"])
        .args(arguments))
}

/// Debian starts a server after installing it; ours are started by the tests, on ports of their own.
fn keep_servers_from_starting(prefix: &[&str]) -> Result<()> {
    if std::path::Path::new("/usr/sbin/policy-rc.d").exists() {
        return Ok(());
    }
    let script = "printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d";
    run(privileged(prefix, "sh").args(["-c", script]))
}

/// Without systemd there is nothing to stop, and a failure here harms nothing: the tests choose free ports.
fn stop_system_mariadb(prefix: &[&str]) {
    if std::path::Path::new("/run/systemd/system").exists() {
        let _ = privileged(prefix, "systemctl")
            .args(["disable", "--now", "mariadb"])
            .status();
    }
    let _ = privileged(prefix, "sh")
        .args([
            "-c",
            "grep -qs 'exit 101' /usr/sbin/policy-rc.d && rm -f /usr/sbin/policy-rc.d",
        ])
        .status();
}

#[cfg(test)]
mod tests {
    use super::is_libclang;

    #[test]
    fn the_library_for_cpp_programs_is_not_taken_for_the_one_that_bindgen_loads() {
        for name in [
            "libclang.so",
            "libclang.so.1",
            "libclang-14.so.1",
            "libclang-14.so.14.0.6",
        ] {
            assert!(is_libclang(name), "{name}");
        }
        for name in [
            "libclang-cpp.so.14",
            "libclang-cpp.so",
            "libclang_rt.asan.so",
            "libclangBasic.a",
        ] {
            assert!(!is_libclang(name), "{name}");
        }
    }
}
