//! The base model of an adapter.

use std::path::Path;

/// The base model of an adapter, as `adapter_config.json` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseModel {
    /// A directory, or `OWNER/NAME` on the Hub.
    pub name: String,
    /// A branch, tag or commit on the Hub; `None` means `main`.
    pub revision: Option<String>,
}

impl BaseModel {
    /// The path for recipes and commands: the directory if it exists, otherwise `hf://OWNER/NAME@REVISION`.
    #[must_use]
    pub fn path(&self) -> String {
        let parts: Vec<&str> = self.name.split('/').collect();
        let is_hub_name = matches!(parts[..], [owner, name] if !owner.is_empty() && !name.is_empty());
        let name = match &self.name {
            name if Path::new(name).is_dir() => return name.clone(),
            name if name.starts_with("hf://") => name.clone(),
            name if is_hub_name && !name.starts_with('.') => format!("hf://{name}"),
            name => return name.clone(),
        };
        match &self.revision {
            Some(revision) if !name.contains('@') => format!("{name}@{revision}"),
            _ => name,
        }
    }
}

impl From<&str> for BaseModel {
    fn from(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            revision: None,
        }
    }
}
