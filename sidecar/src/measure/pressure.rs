//! Pressure stall information of the broker's cgroup, or of the machine where cgroups do not have it.

use super::cgroup::Cgroup;
use doctorkafka_wire::Pressure;

/// Reads it; `None` on a kernel without.
pub fn pressure(cgroup: &Cgroup) -> Option<Pressure> {
    let of = |resource: &str| {
        let text = cgroup
            .read_unified(&format!("{resource}.pressure"))
            .or_else(|| std::fs::read_to_string(format!("/proc/pressure/{resource}")).ok())?;
        some_avg10(&text)
    };
    let pressure =
        Pressure { cpu_some_avg10: of("cpu"), memory_some_avg10: of("memory"), io_some_avg10: of("io") };
    let known = [pressure.cpu_some_avg10, pressure.memory_some_avg10, pressure.io_some_avg10];
    known.iter().any(Option::is_some).then_some(pressure)
}

/// `avg10` of the line `some avg10=0.12 avg60=0.05 avg300=0.01 total=123`.
fn some_avg10(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let figure = some.split(' ').find_map(|field| field.strip_prefix("avg10="))?;
    figure.parse().ok().filter(|share| (0.0..=100.0).contains(share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_text() {
        let text =
            "some avg10=1.53 avg60=0.87 avg300=0.20 total=8473\nfull avg10=0.40 avg60=0.1 avg300=0 total=9\n";
        assert_eq!(some_avg10(text), Some(1.53));
        assert_eq!(some_avg10("full avg10=0.40 avg60=0.1 avg300=0 total=9\n"), None);
        assert_eq!(some_avg10("some avg10=NaN avg60=0\n"), None);
        assert_eq!(some_avg10("some avg10=-3\n"), None);
        assert_eq!(some_avg10(""), None);
    }
}
