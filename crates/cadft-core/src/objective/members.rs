//! The enums of members that recipes name.

/// Defines an enum of members: each is its own type and is named by that type's `NAME`.
macro_rules! members {
    ($(#[$about:meta])* $enum:ident, $schema:literal, $kind:literal: $($(#[$doc:meta])* $variant:ident,)+) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $enum { $($(#[$doc])* $variant($variant),)+ }

        impl $enum {
            /// The name of every member.
            pub const NAMES: &[&str] = &[$($variant::NAME),+];

            /// The member of that name with its default settings.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($variant::NAME => Some(Self::$variant($variant::default())),)+ _ => None }
            }

            /// The name used in recipes and metrics.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $variant::NAME,)+ }
            }

            fn member(&self) -> &dyn Objective {
                match self { $(Self::$variant(member) => member,)+ }
            }
        }

        impl config::Named for $enum {
            const KIND: &str = $kind;
            const NAMES: &[&str] = Self::NAMES;

            fn from_name(name: &str) -> Option<Self> {
                Self::from_name(name)
            }

            fn read_settings<'de, A: serde::de::MapAccess<'de>>(name: &str, map: &mut A) -> Result<Self, A::Error> {
                match name {
                    $($variant::NAME => map.next_value().map(Self::$variant),)+
                    _ => Err(serde::de::Error::unknown_variant(name, Self::NAMES)),
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $enum {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                config::read(deserializer)
            }
        }

        impl schemars::JsonSchema for $enum {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $schema.into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let settings = vec![$(($variant::NAME, generator.subschema_for::<$variant>())),+];
                config::schema::<Self>(settings)
            }
        }

        impl Objective for $enum {
            fn name(&self) -> &str {
                self.name()
            }
            fn token_gates(&self, stats: &TokenStats) -> Tensor<1> {
                self.member().token_gates(stats)
            }
            fn sample_weights(&self, samples: &SampleStats<'_>) -> Vec<f64> {
                self.member().sample_weights(samples)
            }
            fn compatibility(&self) -> Option<&Compatibility> {
                self.member().compatibility()
            }
            fn statistic(&self) -> Option<Statistic> {
                self.member().statistic()
            }
            fn looks_at_median(&self) -> bool {
                self.member().looks_at_median()
            }
            fn reference(&self) -> Option<Reference> {
                self.member().reference()
            }
            fn token_reference(&self) -> Option<TokenReference> {
                self.member().token_reference()
            }
            fn top_excess(&self) -> Option<f64> {
                self.member().top_excess()
            }
            fn low_gate_means_unlikely(&self) -> bool {
                self.member().low_gate_means_unlikely()
            }
        }
    };
}

pub(super) use members;
