//! How a run is launched: as one process with threads as ranks, or as several processes that were started together.

use crate::hint::UsageError;
use anyhow::Result;
use cadft_step::Ranks;
use cadft_step::ranks::{self, Engine};

/// The ranks of a run.
pub(crate) enum Launch {
    /// Threads of this process: their number.
    Threads(usize),
    /// This process is one of several.
    Process(Ranks),
}

/// Variables that launchers set: the number of processes, or the number of this process.
const MARKS: [&str; 4] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS", "PMIX_RANK"];

impl Launch {
    /// The launch of `--ranks` and the environment.
    pub(crate) fn of(threads: Option<u16>) -> Result<Self> {
        let threads = threads.map_or(1, usize::from);
        let Some(mark) = MARKS.into_iter().find(|mark| std::env::var_os(mark).is_some()) else {
            return Ok(Self::Threads(threads));
        };
        if threads > 1 {
            return Err(UsageError::new(
                format!(
                    "`--ranks` starts threads, and this is one of several processes already (`{mark}` is set)"
                ),
                "leave `--ranks` out under `mpirun`: each process is a rank",
            )
            .into());
        }
        processes(mark)
    }
}

fn processes(mark: &str) -> Result<Launch> {
    if ranks::processes_engine() != Engine::NotBuilt {
        let host = ranks::processes().ok_or_else(|| anyhow::anyhow!("MPI has begun before"))?;
        return Ok(Launch::Process(Ranks::new(host)));
    }
    // A launcher that starts a single process is accepted.
    if std::env::var(mark).is_ok_and(|count| count == "1") && mark != "PMIX_RANK" {
        return Ok(Launch::Threads(1));
    }
    Err(UsageError::new(
        format!("this program was started as one of several processes (`{mark}` is set), and was built without MPI"),
        format!("{BUILD}, or start it alone with `--ranks N`"),
    )
    .into())
}

/// How the program is built so that its ranks may be processes.
pub(crate) const BUILD: &str = "build it with `cargo build --release -p cadft --features mpi` (Debian: `libopenmpi-dev`, \
                                `libclang-dev`)";

/// What launched this process as one of several, by the variable that says so, and the variable's value.
pub(crate) fn launched_by() -> Option<(&'static str, String)> {
    MARKS
        .into_iter()
        .find_map(|mark| Some((mark, std::env::var(mark).ok()?)))
}
