//! Which `node.id` the broker beside us has, for a sidecar that was not told.
//!
//! Two things know it: `meta.properties`, which Kafka writes into each of its log directories when they are formatted and
//! insists on at every start (`MetaPropertiesEnsemble`), and the properties file of a running broker. The first is asked
//! first, because it is there while the broker is down. When they do not agree on one id, there is none: never a guess.

use super::{finder::node_ids, properties};
use doctorkafka_wire::BrokerId;
use std::{
    collections::BTreeSet,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

/// How often a broker that is not known yet is looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Every so many looks the log is told that nothing was found yet.
const SAY_EVERY: u32 = 60;

/// The file in each log directory that names the node.
const META_PROPERTIES: &str = "meta.properties";

/// Largest `meta.properties` that is read, bytes.
const MAX_META: u64 = 64 * 1024;

/// Entries of a data directory that are looked into: log directories, each beside few others.
const MAX_ENTRIES: usize = 1_000;

/// Waits until the broker's id can be told. `data_dirs` are the broker's volumes as they are mounted here; a log directory
/// is one of them or right in one of them. `text` is a part of the broker's command line, if one is given.
pub async fn identify(data_dirs: &[PathBuf], text: Option<&str>) -> BrokerId {
    let mut looks: u32 = 0;
    loop {
        let (dirs, text) = (data_dirs.to_vec(), text.map(str::to_owned));
        // A volume that hangs must not keep the sidecar from ending.
        let looking = tokio::task::spawn_blocking(move || look(&dirs, text.as_deref()));
        let ids = looking.await.unwrap_or_default();
        if let (Some(id), 1) = (ids.first(), ids.len()) {
            tracing::info!(broker = %id, "the broker beside this sidecar is known");
            return *id;
        }
        if looks.is_multiple_of(SAY_EVERY) {
            if ids.is_empty() {
                tracing::info!(
                    "waiting for the broker: neither {META_PROPERTIES} in {data_dirs:?} nor a process names a node.id yet"
                );
            } else {
                tracing::warn!("several brokers are here ({ids:?}); name one with --broker-id");
            }
        }
        looks = looks.wrapping_add(1);
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The ids that are found now.
fn look(data_dirs: &[PathBuf], text: Option<&str>) -> BTreeSet<BrokerId> {
    let formatted: BTreeSet<BrokerId> = data_dirs.iter().flat_map(|dir| formatted_for(dir)).collect();
    if formatted.is_empty() { node_ids(text) } else { formatted }
}

/// Ids in the `meta.properties` of a directory and of those in it.
fn formatted_for(dir: &Path) -> BTreeSet<BrokerId> {
    let inside = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok).take(MAX_ENTRIES);
    let candidates = std::iter::once(dir.to_owned()).chain(inside.map(|entry| entry.path()));
    candidates.filter_map(|dir| node_id(&dir.join(META_PROPERTIES))).collect()
}

fn node_id(file: &Path) -> Option<BrokerId> {
    let file = File::open(file).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    file.take(MAX_META).read_to_end(&mut text).ok()?;
    let properties = properties::parse(&String::from_utf8_lossy(&text));
    // Version 0 of the file, of brokers that once needed ZooKeeper, says broker.id.
    let id = properties.get("node.id").or_else(|| properties.get("broker.id"))?;
    id.trim().parse().ok().filter(|id| *id >= 0).map(BrokerId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn volume(log_dirs: &[(&str, &str)]) -> tempfile::TempDir {
        let volume = tempfile::tempdir().unwrap();
        for (dir, text) in log_dirs {
            fs::create_dir_all(volume.path().join(dir)).unwrap();
            fs::write(volume.path().join(dir).join(META_PROPERTIES), text).unwrap();
        }
        volume
    }

    const META: &str =
        "#\n#Sun Nov 22 10:00:00 UTC 2026\ncluster.id=4L6g3nShT-eMCtK--X86sw\nversion=1\nnode.id=7\n";

    #[test]
    fn a_formatted_volume_knows_its_broker() {
        let right_here = volume(&[("", META)]);
        let below = volume(&[("kafka-log7", META)]);
        let old = volume(&[("data", "version=0\nbroker.id=3\n")]);
        for (volume, id) in [(&right_here, 7), (&below, 7), (&old, 3)] {
            assert_eq!(formatted_for(volume.path()), [BrokerId(id)].into());
        }
        let both = [below.path().to_owned(), right_here.path().to_owned()];
        assert_eq!(look(&both, None), [BrokerId(7)].into(), "several volumes of one broker");
    }

    #[test]
    fn what_names_no_broker_is_passed_over() {
        let odd = volume(&[("a", "node.id=-1"), ("b", "node.id=many"), ("c", "\u{0}")]);
        assert!(formatted_for(odd.path()).is_empty());
        assert!(formatted_for(Path::new("/no/such/volume")).is_empty());
        let folder = volume(&[]);
        fs::create_dir_all(folder.path().join(META_PROPERTIES)).unwrap();
        assert!(formatted_for(folder.path()).is_empty(), "a directory of that name");
    }

    #[test]
    fn volumes_of_two_brokers_are_no_answer() {
        let two = volume(&[("kafka-log7", META), ("kafka-log8", "node.id=8")]);
        assert_eq!(look(&[two.path().to_owned()], None).len(), 2);
    }

    #[tokio::test]
    async fn an_id_that_comes_later_is_waited_for() {
        let volume = volume(&[]);
        let dirs = [volume.path().to_owned()];
        // Nothing on this machine has such a command line.
        let waiting = identify(&dirs, Some("no such broker 4711"));
        let format = async {
            tokio::task::yield_now().await;
            fs::create_dir(volume.path().join("kafka")).unwrap();
            fs::write(volume.path().join("kafka").join(META_PROPERTIES), META).unwrap();
        };
        let both = async { tokio::join!(waiting, format).0 };
        assert_eq!(tokio::time::timeout(Duration::from_secs(30), both).await.unwrap(), BrokerId(7));
    }
}
