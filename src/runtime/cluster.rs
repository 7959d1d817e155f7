//! The threads, processes and hosts of a job.

/// Who runs a job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cluster {
    /// Worker threads of each process.
    pub threads: usize,
    /// Processes.
    pub processes: usize,
    /// Index of this process.
    pub process: usize,
    /// `host:port` of each process; not used by a single one.
    pub addresses: Vec<String>,
}

impl Cluster {
    /// One process with so many worker threads.
    pub fn threads(threads: usize) -> Cluster {
        Cluster { threads, processes: 1, process: 0, addresses: Vec::new() }
    }

    /// Worker threads of the job.
    pub fn workers(&self) -> usize {
        self.threads * self.processes
    }

    /// Whether this process reads the partition with this index.
    pub fn reads(&self, partition: usize) -> bool {
        partition % self.processes == self.process
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_one_reader() {
        let processes = 3;
        for partition in 0..10 {
            let cluster = |process| Cluster { threads: 1, processes, process, addresses: Vec::new() };
            assert_eq!((0..processes).filter(|process| cluster(*process).reads(partition)).count(), 1);
        }
    }
}
