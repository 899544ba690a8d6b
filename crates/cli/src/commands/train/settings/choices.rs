//! Flags that are one of a few words, which settings keep.

macro_rules! choices {
    ($(#[$doc:meta])* $name:ident { $($variant:ident $word:literal $help:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
        pub enum $name {
            $(#[doc = $help] #[value(name = $word)] #[serde(rename = $word)] $variant,)*
        }
    };
}
