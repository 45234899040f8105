//! What must be there before anything is sent: the repository, private if it should be, its branch, and a card that the
//! Hub takes.

use super::{Push, Visibility, wire};
use crate::choice::CARD;
use crate::error::HubError;
use crate::listing::Info;
use crate::send::{JSON, Reply, said_in};
use crate::text::Visible;

impl Push<'_> {
    /// Creates the repository, unless it exists. As in Python, an answer 401, 402 or 403 is no error if it exists: a token
    /// may be for this repository only.
    pub(super) fn create(&self) -> Result<(), HubError> {
        /// What the Hub says while it creates another repository of the same owner.
        const ANOTHER: &str = "another conflicting operation is in progress";
        let address = self.below("/api/repos/create");
        let is_private = self.target.visibility == Visibility::Private;
        let body = wire::create(&self.target.spec.id, is_private).to_string();
        let mut reply = self.post(&address, JSON, &body)?;
        for number in 0..self.client.hub.limits.retries {
            let is_busy =
                reply.status == 409 && said_in(&reply.body).iter().any(|text| text.contains(ANOTHER));
            if !is_busy {
                break;
            }
            self.client.pause(number, None);
            reply = self.post(&address, JSON, &body)?;
        }
        match reply.status {
            200..300 => self.check_created(&reply),
            409 => Ok(()),
            401..=403 => match self.client.json(self.subject(), &self.api("")) {
                Ok(_) => Ok(()),
                Err(_) => Err(reply.refused(self.subject())),
            },
            _ => Err(reply.refused(self.subject())),
        }
    }

    /// Checks that what was created is a model. Data sets and spaces have addresses of their own.
    fn check_created(&self, reply: &Reply) -> Result<(), HubError> {
        let created = wire::created(&reply.body).unwrap_or_default();
        let is_other = ["datasets", "spaces", "kernels"];
        let is_other = is_other.map(|kind| format!("/{kind}/{}", self.target.spec.id));
        if is_other.iter().any(|path| created.ends_with(path)) {
            let message = format!(
                "the Hub has created `{}`, which is not a model",
                Visible(&created)
            );
            return Err(self.subject().malformed(&reply.address, message));
        }
        Ok(())
    }

    /// Checks that a repository that should be private is: the Hub ignores the wish for one that exists.
    pub(super) fn check_visibility(&self) -> Result<(), HubError> {
        if self.target.visibility == Visibility::OfOwner {
            return Ok(());
        }
        let address = self.api("");
        let (body, _) = self.client.json(self.subject(), &address)?;
        match wire::is_private(&body) {
            Ok(true) => Ok(()),
            Ok(false) => Err(HubError::Public {
                spec: Box::new(self.target.spec.clone()),
            }),
            Err(message) => Err(self.answered(&address, &message)),
        }
    }

    /// The newest commit of the branch; `None` if there is no such branch.
    pub(super) fn head(&self) -> Result<Option<String>, HubError> {
        let address = self.api(&format!("/revision/{}", self.revision()));
        match self.client.json(self.subject(), &address) {
            Ok((body, _)) => Info::parse(&body)
                .map(|info| Some(info.commit))
                .map_err(|message| self.answered(&address, &message)),
            Err(HubError::Refused { status: 404, .. }) if self.is_other_branch() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the branch is one that can be created. `main` is there in every repository; `refs/` are the Hub's own.
    fn is_other_branch(&self) -> bool {
        let revision = &self.target.spec.revision;
        revision != "main" && !revision.starts_with("refs/")
    }

    pub(super) fn find_branch(&self) -> Result<(), HubError> {
        if self.head()?.is_some() {
            return Ok(());
        }
        let address = self.api(&format!("/branch/{}", self.revision()));
        let reply = self.post(&address, JSON, "{}")?;
        // Another process may have created it.
        if reply.is_good() || reply.status == 409 {
            return Ok(());
        }
        Err(reply.refused(self.subject()))
    }

    /// Has the metadata of the card checked before anything is sent. Returns the Hub's remarks. Mirrors may not have the
    /// check.
    pub(super) fn check_card(&self) -> Result<Vec<String>, HubError> {
        let card = self.package.files().iter().find(|file| file.name == CARD);
        let Some(card) = card.filter(|card| card.size <= self.client.hub.limits.commit_bytes) else {
            return Ok(vec![]);
        };
        let content = card.bytes()?;
        let content = String::from_utf8_lossy(&content);
        let body = serde_json::json!({ "content": content, "repoType": "model" });
        let address = self.below("/api/validate-yaml");
        let reply = self.post(&address, JSON, &body.to_string())?;
        match reply.status {
            200..300 => Ok(wire::warnings(&reply.body)),
            400 => Err(HubError::Card {
                spec: Box::new(self.target.spec.clone()),
                problems: (said_in(&reply.body).iter())
                    .map(|text| Visible(text).to_string())
                    .collect(),
            }),
            404 | 405 | 501 => Ok(vec![]),
            _ => Err(reply.refused(self.subject_of(card))),
        }
    }
}
