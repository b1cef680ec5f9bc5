//! What the process uses, in the names of Prometheus' client libraries.

use super::families::Gathered;

/// Reads it from `/proc`; what cannot be read is left out.
#[cfg(target_os = "linux")]
#[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are doubles")]
pub(super) fn gather(gathered: &mut Gathered) {
    use procfs::process::{LimitValue, Process};

    let Ok(process) = Process::myself() else { return };
    if let Ok(stat) = process.stat() {
        let ticks = procfs::ticks_per_second() as f64;
        gathered.counter_f64("process_cpu_seconds_total", &[], (stat.utime + stat.stime) as f64 / ticks);
        gathered.gauge("process_resident_memory_bytes", &[], (stat.rss * procfs::page_size()) as f64);
        gathered.gauge("process_virtual_memory_bytes", &[], stat.vsize as f64);
        gathered.gauge("process_threads", &[], stat.num_threads as f64);
        if let Ok(boot) = procfs::boot_time_secs() {
            gathered.gauge("process_start_time_seconds", &[], boot as f64 + stat.starttime as f64 / ticks);
        }
    }
    if let Ok(open) = process.fd_count() {
        gathered.gauge("process_open_fds", &[], open as f64);
    }
    if let Ok(limits) = process.limits() {
        let most = match limits.max_open_files.soft_limit {
            LimitValue::Value(most) => most as f64,
            LimitValue::Unlimited => f64::INFINITY,
        };
        gathered.gauge("process_max_fds", &[], most);
    }
}

/// Nothing is known elsewhere.
#[cfg(not(target_os = "linux"))]
pub(super) fn gather(_: &mut Gathered) {}
