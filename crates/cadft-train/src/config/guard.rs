//! `[guard]`: how a run reacts to values that indicate a problem.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a run reacts to values that indicate a problem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct GuardSection {
    /// Steps in a row whose loss or gradient is not finite before the run stops; each of them is skipped. Ours: 3.
    pub non_finite: usize,
    /// Warn if the gradient norm exceeds its moving average by this factor; 0 = never. Ours: 10.
    pub spike: f64,
    /// What happens if the estimated memory is far above what there is. Ours: `refuse`.
    pub memory: OnLowMemory,
    /// What there is: the memory that the system reports, or that of a card or a laptop. No system reports that of a GPU.
    /// Ours: `system`.
    pub memory_of: MemoryOf,
}

/// What happens if the estimated memory is far above what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnLowMemory {
    /// The run does not start.
    #[default]
    Refuse,
    /// It starts, with a warning.
    Warn,
    /// The first settings of the plan's ladder that fit are taken, with a warning. If none fit, the run does not start.
    Auto,
}

/// Whose memory a run may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MemoryOf {
    /// What the system reports as available.
    #[default]
    #[serde(rename = "system")]
    System,
    /// A card of 8 GB: 7 GiB, because the driver and the display take a part.
    #[serde(rename = "card-8gb")]
    Card8,
    /// A card of 12 GB: 11 GiB.
    #[serde(rename = "card-12gb")]
    Card12,
    /// A card of 16 GB: 15 GiB.
    #[serde(rename = "card-16gb")]
    Card16,
    /// A card of 24 GB: 23 GiB.
    #[serde(rename = "card-24gb")]
    Card24,
    /// A card of 48 GB: 46 GiB.
    #[serde(rename = "card-48gb")]
    Card48,
    /// A card of 80 GB: 78 GiB.
    #[serde(rename = "card-80gb")]
    Card80,
    /// A laptop of 16 GB: 12 GiB, because the system and other programs take a part.
    #[serde(rename = "laptop-16gb")]
    Laptop16,
}

impl MemoryOf {
    /// The devices, from small to large.
    pub const DEVICES: [Self; 7] = [
        Self::Card8,
        Self::Card12,
        Self::Laptop16,
        Self::Card16,
        Self::Card24,
        Self::Card48,
        Self::Card80,
    ];

    /// Its memory in MiB; `None` if the system is to be asked.
    #[must_use]
    pub fn mib(self) -> Option<f64> {
        let gib = match self {
            Self::System => return None,
            Self::Card8 => 7.0,
            Self::Card12 => 11.0,
            Self::Laptop16 => 12.0,
            Self::Card16 => 15.0,
            Self::Card24 => 23.0,
            Self::Card48 => 46.0,
            Self::Card80 => 78.0,
        };
        Some(1024.0 * gib)
    }

    /// Its name in recipes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Card8 => "card-8gb",
            Self::Card12 => "card-12gb",
            Self::Laptop16 => "laptop-16gb",
            Self::Card16 => "card-16gb",
            Self::Card24 => "card-24gb",
            Self::Card48 => "card-48gb",
            Self::Card80 => "card-80gb",
        }
    }

    /// The smallest device that has this many MiB.
    #[must_use]
    pub fn smallest(mib: f64) -> Option<Self> {
        let has_room = |device: &Self| device.mib().is_some_and(|own| mib <= own);
        Self::DEVICES.into_iter().find(has_room)
    }
}

impl Default for GuardSection {
    fn default() -> Self {
        Self {
            non_finite: 3,
            spike: 10.0,
            memory: OnLowMemory::Refuse,
            memory_of: MemoryOf::System,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_sorted_by_size_and_have_the_names_of_recipes() {
        let sizes = MemoryOf::DEVICES.map(MemoryOf::mib);
        assert!(sizes.is_sorted(), "{sizes:?}");
        for device in MemoryOf::DEVICES {
            assert_eq!(serde_json::to_value(device).unwrap(), device.name());
            assert_eq!(device.mib().and_then(MemoryOf::smallest), Some(device));
        }
        assert_eq!(MemoryOf::smallest(1e6), None);
    }
}
