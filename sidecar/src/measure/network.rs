//! Traffic of the broker's network namespace.

use doctorkafka_wire::Network;
use procfs::{FromBufRead, net::InterfaceDeviceStatus};
use std::{
    collections::{HashMap, HashSet},
    path::Path,
    time::{Duration, Instant},
};

/// Over a shorter time than this the last rates stand.
const SHORTEST: Duration = Duration::from_millis(250);

/// Bytes received and sent so far, by interface.
type Counters = HashMap<String, (u64, u64)>;

/// Turns counters of bytes into rates.
#[derive(Debug, Default)]
pub struct NetworkMeter {
    before: Option<(Instant, Counters)>,
    rates: Option<(f64, f64)>,
    interfaces: Interfaces,
}

/// The physical interfaces, when the namespace has any, and what they carry.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Interfaces {
    /// Names of the physical interfaces. On a machine they carry all there is; bridges, bonds and the machine's ends of
    /// pods' links would count the same bytes again.
    physical: HashSet<String>,
    /// Sum of their speeds, bytes a second.
    capacity: Option<u64>,
}

impl NetworkMeter {
    /// Takes in what is known of the interfaces.
    pub fn know(&mut self, interfaces: Interfaces) {
        self.interfaces = interfaces;
    }

    /// Takes in the text of `/proc/PID/net/dev`; `None` at first.
    pub fn rates(&mut self, now: Instant, net_dev: &str, capacity: Option<u64>) -> Option<Network> {
        let counters = counters(net_dev, &self.interfaces.physical);
        match &self.before {
            Some((then, before)) => {
                let elapsed = now.saturating_duration_since(*then);
                if elapsed >= SHORTEST {
                    let mut moved = (0.0, 0.0);
                    for (name, now) in &counters {
                        // An interface that is new, or whose counters began again, says nothing yet.
                        let before = before.get(name).unwrap_or(now);
                        moved.0 += now.0.saturating_sub(before.0) as f64;
                        moved.1 += now.1.saturating_sub(before.1) as f64;
                    }
                    let seconds = elapsed.as_secs_f64();
                    self.rates = Some((moved.0 / seconds, moved.1 / seconds));
                    self.before = Some((now, counters));
                }
            }
            None => self.before = Some((now, counters)),
        }
        let (in_bytes_per_sec, out_bytes_per_sec) = self.rates?;
        let capacity_bytes_per_sec = capacity.or(self.interfaces.capacity);
        Some(Network { in_bytes_per_sec, out_bytes_per_sec, capacity_bytes_per_sec })
    }
}

/// Bytes received and sent by interface: the physical ones, else all but loopback, else loopback.
fn counters(net_dev: &str, physical: &HashSet<String>) -> Counters {
    let devices =
        InterfaceDeviceStatus::from_buf_read(net_dev.as_bytes()).map(|all| all.0).unwrap_or_default();
    let all = || devices.values().map(|device| (device.name.clone(), (device.recv_bytes, device.sent_bytes)));
    let chosen: Counters = all().filter(|(name, _)| physical.contains(name)).collect();
    if !chosen.is_empty() {
        return chosen;
    }
    let chosen: Counters = all().filter(|(name, _)| name != "lo").collect();
    if chosen.is_empty() { all().collect() } else { chosen }
}

/// The physical interfaces of the process's network namespace. `/sys` shows our own namespace, so in another nothing is
/// known.
pub fn interfaces(pid: i32) -> Interfaces {
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let ours = namespace("self");
    if ours.is_none() || namespace(&pid.to_string()) != ours {
        return Interfaces::default();
    }
    physical(Path::new("/sys/class/net"))
}

fn physical(class: &Path) -> Interfaces {
    let mut found = Interfaces::default();
    for entry in class.read_dir().into_iter().flatten().flatten() {
        // Virtual interfaces have no device behind them, and some invent a speed.
        if !entry.path().join("device").exists() {
            continue;
        }
        let speed = std::fs::read_to_string(entry.path().join("speed")).ok();
        // In Mbit/s; -1 when there is no link.
        if let Some(mbits) = speed.and_then(|text| text.trim().parse::<u64>().ok()).filter(|mbits| *mbits > 0)
        {
            found.capacity = Some(found.capacity.unwrap_or(0).saturating_add(mbits.saturating_mul(125_000)));
        }
        found.physical.insert(entry.file_name().to_string_lossy().into_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net_dev(devices: &[(&str, u64, u64)]) -> String {
        let mut text = String::from(
            "Inter-|   Receive                                                |  Transmit\n \
             face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls \
             carrier compressed\n",
        );
        for (name, received, sent) in devices {
            text += &format!("{name:>6}: {received} 10 0 0 0 0 0 0 {sent} 10 0 0 0 0 0 0\n");
        }
        text
    }

    fn rates(meter: &mut NetworkMeter, at: Instant, devices: &[(&str, u64, u64)]) -> Option<(f64, f64)> {
        let network = meter.rates(at, &net_dev(devices), None)?;
        Some((network.in_bytes_per_sec, network.out_bytes_per_sec))
    }

    #[test]
    fn loopback_is_left_out_unless_it_is_all_there_is() {
        let start = Instant::now();
        let second = start + Duration::from_secs(1);
        let mut meter = NetworkMeter::default();
        assert_eq!(rates(&mut meter, start, &[("lo", 0, 0), ("eth0", 1_000, 2_000)]), None);
        assert_eq!(
            rates(&mut meter, second, &[("lo", 9_000, 9_000), ("eth0", 1_500, 2_100)]),
            Some((500.0, 100.0))
        );

        let mut meter = NetworkMeter::default();
        assert_eq!(rates(&mut meter, start, &[("lo", 0, 0)]), None);
        assert_eq!(rates(&mut meter, second, &[("lo", 300, 300)]), Some((300.0, 300.0)));
    }

    #[test]
    fn physical_interfaces_are_not_counted_twice() {
        let start = Instant::now();
        let mut meter = NetworkMeter::default();
        meter.know(Interfaces { physical: HashSet::from(["eno1".into()]), capacity: Some(125_000_000) });
        assert!(meter.rates(start, &net_dev(&[("eno1", 0, 0), ("docker0", 0, 0)]), None).is_none());
        let later = start + Duration::from_secs(2);
        let network =
            meter.rates(later, &net_dev(&[("eno1", 4_000, 0), ("docker0", 4_000, 0)]), None).unwrap();
        assert_eq!(network.in_bytes_per_sec, 2_000.0);
        assert_eq!(network.capacity_bytes_per_sec, Some(125_000_000));
        let network = meter.rates(later, &net_dev(&[]), Some(7)).unwrap();
        assert_eq!(
            network.capacity_bytes_per_sec,
            Some(7),
            "what is configured counts more than what is found"
        );
    }

    #[test]
    fn new_interfaces_and_counters_that_begin_again_make_no_spike() {
        let start = Instant::now();
        let mut meter = NetworkMeter::default();
        rates(&mut meter, start, &[("eth0", 5_000, 5_000)]);
        let got =
            rates(&mut meter, start + Duration::from_secs(1), &[("eth0", 10, 10), ("eth1", 1_000_000, 0)]);
        assert_eq!(got, Some((0.0, 0.0)));
    }

    #[test]
    fn nonsense_is_no_traffic() {
        let mut meter = NetworkMeter::default();
        assert!(meter.rates(Instant::now(), "nonsense", None).is_none());
    }

    #[test]
    fn speeds_are_believed_only_of_devices() {
        let class = tempfile::tempdir().unwrap();
        for (name, device, speed) in
            [("eno1", true, "1000\n"), ("eno2", true, "-1\n"), ("veth1", false, "10000\n")]
        {
            let dir = class.path().join(name);
            std::fs::create_dir(&dir).unwrap();
            std::fs::write(dir.join("speed"), speed).unwrap();
            if device {
                std::fs::create_dir(dir.join("device")).unwrap();
            }
        }
        let found = physical(class.path());
        assert_eq!(found.physical, HashSet::from(["eno1".into(), "eno2".into()]));
        assert_eq!(found.capacity, Some(125_000_000));
    }
}
