//! Doing what a second terminal asks for.

use super::{control::Request, doctors, sidecars::Sidecar, stage::Stage};
use anyhow::{Context, bail};

impl Stage {
    /// Does it; gives what to tell the user, in both terminals.
    ///
    /// # Errors
    /// It makes no sense now, or did not work.
    pub async fn perform(&self, request: &Request) -> anyhow::Result<String> {
        match *request {
            Request::StopBroker { broker } => {
                self.kafka.kill(broker).await?;
                Ok(format!("broker {broker} killed (kill -9, a crash); its sidecar lives on and will tell"))
            }
            Request::StartBroker { broker } => {
                self.kafka.start(broker).await?;
                Ok(format!("broker {broker} started, and serves"))
            }
            Request::SpikeBroker { broker } => {
                self.sidecar(broker)?.spike().await?;
                Ok(format!("a spike of CPU is laid over what the sidecar of broker {broker} measures"))
            }
            Request::StopDoctor => self.stop_doctor().await,
            Request::StartDoctor => self.start_doctor(),
        }
    }

    fn sidecar(&self, broker: i32) -> anyhow::Result<&Sidecar> {
        let count = self.sidecars.len();
        let of_broker = self.sidecars.iter().find(|sidecar| sidecar.broker() == broker);
        of_broker.with_context(|| format!("there is no broker {broker}: ids are 1 to {count}"))
    }

    async fn stop_doctor(&self) -> anyhow::Result<String> {
        let Some((doctor, _)) = doctors::leading(&self.doctors).await else {
            bail!("no doctor leads at the moment");
        };
        doctor.stop().await?;
        let stopped = doctor.number();
        Ok(match self.doctors.iter().find(|other| other.is_on()) {
            Some(other) => format!(
                "doctor {stopped}, which led, was ended; doctor {} serves the dashboard at http://localhost:{}",
                other.number(),
                other.ports().dashboard
            ),
            None => format!("doctor {stopped}, the last one, was ended: nobody watches"),
        })
    }

    fn start_doctor(&self) -> anyhow::Result<String> {
        let stopped = self.doctors.iter().find(|doctor| !doctor.is_on());
        let doctor = stopped.context("all doctors run already; stop-doctor ends the leading one")?;
        doctor.start_again()?;
        Ok(format!(
            "doctor {} started; dashboard at http://localhost:{}",
            doctor.number(),
            doctor.ports().dashboard
        ))
    }
}
