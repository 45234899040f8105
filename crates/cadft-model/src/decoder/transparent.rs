//! Enums that are, as modules, what they hold: names of parameters are those of the field, without the name of the variant.
//!
//! Burn's derived modules put the variant into the names of parameters. Here the names are those of the checkpoint.

/// Implements Burn's traits of modules for an enum whose variants hold one module each.
macro_rules! transparent {
    ($name:ident { $($variant:ident),+ }) => {
        impl burn::module::Module for $name {
            fn collect_devices(&self, devices: burn::module::Devices) -> burn::module::Devices {
                match self { $(Self::$variant(held) => held.collect_devices(devices)),+ }
            }

            fn fork(self, device: &burn::tensor::Device) -> Self {
                match self { $(Self::$variant(held) => Self::$variant(held.fork(device))),+ }
            }

            fn to_device(self, device: &burn::tensor::Device) -> Self {
                match self { $(Self::$variant(held) => Self::$variant(held.to_device(device))),+ }
            }

            fn visit<V: burn::module::ModuleVisitor>(&self, visitor: &mut V) {
                match self { $(Self::$variant(held) => held.visit(visitor)),+ }
            }

            fn map<M: burn::module::ModuleMapper>(self, mapper: &mut M) -> Self {
                match self {
                    // A parameter has a method of this name, too.
                    $(Self::$variant(held) => Self::$variant(burn::module::Module::map(held, mapper))),+
                }
            }

            fn valid(&self) -> Self {
                match self { $(Self::$variant(held) => Self::$variant(held.valid())),+ }
            }

            fn train(self) -> Self {
                match self { $(Self::$variant(held) => Self::$variant(held.train())),+ }
            }

            fn materialize(self) -> Self {
                match self { $(Self::$variant(held) => Self::$variant(held.materialize())),+ }
            }
        }

        impl burn::module::ModuleDisplayDefault for $name {
            fn content(&self, content: burn::module::Content) -> Option<burn::module::Content> {
                match self { $(Self::$variant(held) => content.add_single(held).optional()),+ }
            }
        }

        impl burn::module::ModuleDisplay for $name {}
    };
}

pub(super) use transparent;
