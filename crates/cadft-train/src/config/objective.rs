//! The objective of a recipe: a member of the family by name, or a custom one.

use cadft_core::{AnyObjective, Objective};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

/// The objective of a run. Both variants implement [`Objective`].
#[derive(Clone, Debug)]
pub enum ObjectiveChoice {
    /// A member of the family, named in a recipe.
    Named(AnyObjective),
    /// A custom objective of the calling program: [`Recipe::with_objective`](super::Recipe::with_objective). It is
    /// serialised as a table without settings under its name, and cannot be deserialised.
    Own(Arc<dyn Objective>),
}

impl ObjectiveChoice {
    /// The member of the family; `None` for a custom objective.
    #[must_use]
    pub fn named(&self) -> Option<&AnyObjective> {
        match self {
            Self::Named(objective) => Some(objective),
            Self::Own(_) => None,
        }
    }
}

impl Deref for ObjectiveChoice {
    type Target = dyn Objective;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Named(objective) => objective,
            Self::Own(objective) => &**objective,
        }
    }
}

impl Default for ObjectiveChoice {
    fn default() -> Self {
        Self::Named(AnyObjective::default())
    }
}

impl From<AnyObjective> for ObjectiveChoice {
    fn from(objective: AnyObjective) -> Self {
        Self::Named(objective)
    }
}

/// Custom objectives are equal if their names are.
impl PartialEq for ObjectiveChoice {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Named(one), Self::Named(other)) => one == other,
            (Self::Own(one), Self::Own(other)) => one.name() == other.name(),
            _ => false,
        }
    }
}

impl Serialize for ObjectiveChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Named(objective) => objective.serialize(serializer),
            Self::Own(objective) => {
                let mut table = serializer.serialize_map(Some(1))?;
                table.serialize_entry(objective.name(), &BTreeMap::<String, ()>::new())?;
                table.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for ObjectiveChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        AnyObjective::deserialize(deserializer).map(Self::Named)
    }
}

impl JsonSchema for ObjectiveChoice {
    fn schema_name() -> Cow<'static, str> {
        AnyObjective::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        AnyObjective::json_schema(generator)
    }
}

/// Whether `name` is a member of the family, which recipes can name.
pub(crate) fn is_member(name: &str) -> bool {
    AnyObjective::NAMES.contains(&name)
}
