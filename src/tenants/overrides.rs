//! What wins over the configuration file: flags and environment.

use std::path::{Path, PathBuf};

use crate::config::{Listen, OpsListen, Settings, public_url};
use crate::tenants::config_file;

/// Values of flags and environment variables; which of the two wins is decided where they are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--listen`
    pub listen: Option<Listen>,
    /// `--ops-listen`
    pub ops_listen: Option<OpsListen>,
    /// `--public-url`
    pub public_url: Option<String>,
    /// `--data-dir`; a relative one is meant from where the program was started.
    pub data_dir: Option<PathBuf>,
}

/// A flag or environment variable is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{flag}: {problem}")]
pub struct BadOverride {
    /// The flag and the environment variable.
    pub flag: &'static str,
    /// What was expected.
    pub problem: String,
}

impl Overrides {
    /// The settings in force: those of the file, these laid over them, and `data_dir`, the folder of
    /// backups and the files of schemas absolute (in the file they are meant from where the file lies). Laying over twice changes nothing more.
    ///
    /// # Errors
    /// [`BadOverride`]
    pub fn lay_over(&self, mut settings: Settings, config_file: &Path) -> Result<Settings, BadOverride> {
        if let Some(listen) = &self.listen {
            settings.server.listen = listen.clone();
        }
        if let Some(listen) = self.ops_listen {
            settings.server.ops.listen = listen;
        }
        if let Some(url) = &self.public_url {
            let flag = "--public-url (ICI_SCIM_PUBLIC_URL)";
            settings.server.public_url =
                Some(public_url(url).map_err(|problem| BadOverride { flag, problem })?);
        }
        let data_dir = match &self.data_dir {
            Some(data_dir) => data_dir.clone(),
            None => settings.server.data_dir_beside(config_file),
        };
        settings.server.data_dir = std::path::absolute(data_dir).map_err(|_| BadOverride {
            flag: "--data-dir (ICI_SCIM_DATA_DIR)",
            problem: "expected the path of a folder".to_owned(),
        })?;
        let folder = config_file::folder_of(config_file);
        if let Some(backup) = &mut settings.server.backup {
            let beside = folder.join(&backup.to);
            // As with a schema's path below.
            backup.to = std::path::absolute(&beside).unwrap_or(beside);
        }
        if let Some(tls) = &mut settings.server.tls {
            if matches!(settings.server.listen, Listen::Unix(_)) {
                let flag = "--listen (ICI_SCIM_LISTEN)";
                let problem =
                    "a socket file is spoken to in plain HTTP, and the file has [server.tls]".to_owned();
                return Err(BadOverride { flag, problem });
            }
            tls.resolve(&folder, &settings.server.data_dir);
        }
        for schema in settings.tenants.values_mut().flat_map(|tenant| &mut tenant.schemas) {
            let beside = folder.join(&schema.file);
            // A path that cannot be made absolute cannot be read either, which is told there.
            schema.file = std::path::absolute(&beside).unwrap_or(beside);
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        crate::config::parse(text, "tenants.toml").unwrap()
    }

    #[test]
    fn what_is_not_overridden_stays_and_the_data_folder_lies_beside_the_file() {
        let given =
            settings("[server]\nlisten = \"127.0.0.1:1\"\npublic_url = \"https://a\"\ndata_dir = \"d\"");
        let laid = Overrides::default().lay_over(given.clone(), Path::new("/etc/ici/tenants.toml")).unwrap();
        assert_eq!(laid.server.data_dir, Path::new("/etc/ici/d"));
        assert_eq!(
            (&laid.server.listen, &laid.server.public_url),
            (&given.server.listen, &given.server.public_url)
        );
        let again = Overrides::default().lay_over(laid.clone(), Path::new("/etc/ici/tenants.toml")).unwrap();
        assert_eq!(again, laid);
    }

    #[test]
    fn overrides_win() {
        let overrides = Overrides {
            listen: Some("127.0.0.1:2".parse().unwrap()),
            ops_listen: Some(OpsListen::Off),
            public_url: Some("https://b/".to_owned()),
            data_dir: Some(PathBuf::from("e")),
        };
        let laid = overrides.lay_over(settings(""), Path::new("/etc/ici/tenants.toml")).unwrap();
        assert_eq!(laid.server.listen.to_string(), "127.0.0.1:2");
        assert_eq!(laid.server.ops.listen, OpsListen::Off);
        assert_eq!(laid.server.public_url.as_deref(), Some("https://b"));
        assert_eq!(laid.server.data_dir, std::env::current_dir().unwrap().join("e"));
    }

    #[test]
    fn a_wrong_override_is_named() {
        let overrides = Overrides { public_url: Some("scim.example.com".to_owned()), ..Overrides::default() };
        let error = overrides.lay_over(settings(""), Path::new("t")).unwrap_err().to_string();
        assert!(error.starts_with("--public-url (ICI_SCIM_PUBLIC_URL): expected a URL"), "{error}");
    }
}
