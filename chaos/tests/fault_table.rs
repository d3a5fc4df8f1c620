//! The quick scenarios of the list of faults ([`quorate_chaos::fault_table`]), on MariaDB and Redis; the whole list
//! is `cargo xtask faults`.

use anyhow::{Result, ensure};
use quorate_chaos::cluster::binary;
use quorate_chaos::fault_table::{self, Options};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quick_faults_come_to_what_is_expected() -> Result<()> {
    // An error means that another test of this process has done it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let options = Options {
        quorate: binary()?,
        engines: ["mariadb", "redis"].map(str::to_owned).to_vec(),
        names: Vec::new(),
        quick: true,
    };
    let directory = quorate_chaos::bench::directory()?;
    let outcome = fault_table::run(&options, directory.path(), fault_table::print).await;
    let differing = match outcome {
        Ok(rows) => {
            ensure!(rows.len() > 15, "only {} scenarios were run", rows.len());
            rows.iter().filter(|row| !row.is_right()).count()
        }
        Err(error) => return Err(error.context(format!("all files are kept in {}", directory.keep().display()))),
    };
    ensure!(
        differing == 0,
        "{differing} scenarios differ from what is expected, see above"
    );
    Ok(())
}
