//! An S3 service of a test's own, over HTTPS, that can be killed, suspended and started again.

use std::sync::Arc;

use crate::dev_cluster::DevCluster;

pub struct ObjectService {
    cluster: Arc<DevCluster>,
}

impl ObjectService {
    pub fn start(cluster: &Arc<DevCluster>) -> Self {
        cluster.run(&["s3", "start"]);
        Self { cluster: cluster.clone() }
    }

    /// `S3_ENDPOINT`, `S3_ACCESS_KEY`, `S3_SECRET_KEY`, `S3_BUCKET`, `S3_REGION` and `S3_CA_FILE` for a `tango`.
    pub fn environment(&self) -> Vec<(String, String)> {
        let settings = self.cluster.settings("s3.env");
        settings.into_iter().filter(|(name, _)| name != "S3_HTTP_ENDPOINT").collect()
    }

    fn setting(&self, name: &str) -> String {
        self.cluster.setting("s3.env", name).unwrap()
    }

    /// `kill -9` of one of its processes: of `s3`, while what speaks HTTPS for it goes on and answers 503, or of that, `s3-front`.
    pub fn kill(&self, process: &str) {
        self.cluster.run(&["kill", process, "-9"]);
    }

    /// Starts it again with the objects that it has; returns when it answers.
    pub fn restart(&self) {
        self.cluster.run(&["s3", "start"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::client::client_builder;

    /// Asks through curl, which signs by itself: a second opinion beside tango's own client.
    fn ask(service: &ObjectService, arguments: &[&str], path: &str) -> String {
        let keys = format!("{}:{}", service.setting("S3_ACCESS_KEY"), service.setting("S3_SECRET_KEY"));
        let mut curl = std::process::Command::new("curl");
        curl.args(["--silent", "--show-error", "--write-out", " %{http_code}"]);
        curl.args(["--aws-sigv4", "aws:amz:us-east-1:s3", "--user", &keys, "--cacert", &service.setting("S3_CA_FILE")]);
        curl.args(["--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]).args(arguments);
        let output = curl.arg(format!("{}/{path}", service.setting("S3_ENDPOINT"))).output().unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    }

    #[tokio::test]
    async fn objects_outlive_the_service_and_strangers_are_refused() {
        let Some(cluster) = DevCluster::open() else { return };
        let service = ObjectService::start(&cluster);
        assert_eq!(ask(&service, &["--request", "PUT", "--data-binary", "hello"], "tango/greeting"), " 200");
        assert_eq!(ask(&service, &[], "tango/greeting"), "hello 200");

        let authority = std::fs::read(service.setting("S3_CA_FILE")).unwrap();
        let trusting = client_builder().add_root_certificate(reqwest::Certificate::from_pem(&authority).unwrap());
        let url = format!("{}/tango/greeting", service.setting("S3_ENDPOINT"));
        assert_eq!(trusting.build().unwrap().get(url).send().await.unwrap().status(), 403, "without a signature");

        service.kill("s3");
        assert!(ask(&service, &[], "tango/greeting").ends_with(" 503"));
        service.restart();
        assert_eq!(ask(&service, &[], "tango/greeting"), "hello 200");
        assert!(service.environment().iter().any(|(name, value)| name == "S3_BUCKET" && value == "tango"));
    }
}
