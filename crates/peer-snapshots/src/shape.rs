//! How a message is declared: the type, its reader and its field names stand in one place.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, Visitor};

/// Reads the name of a field: what `known` says of it. Unknown names are allowed and passed over.
pub(crate) struct Name<F>(pub(crate) F);

impl<'de, T, F: Fn(&str) -> Option<T>> DeserializeSeed<'de> for Name<F> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Option<T>, D::Error> {
        input.deserialize_identifier(self)
    }
}

impl<T, F: Fn(&str) -> Option<T>> Visitor<'_> for Name<F> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Option<T>, E> {
        Ok((self.0)(name))
    }
}

/// The name of a field on the wire: its own, unless another is given.
macro_rules! wire_name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $name:literal) => {
        $name
    };
}

/// What a name means that is no field: nothing, unless the object says otherwise.
macro_rules! other_name {
    ($name:ident) => {
        None
    };
    ($name:ident $find:path) => {
        $find($name).map(Field::Other)
    };
}

/// Declares an object of the wire: the struct, and how it is read.
///
/// Fields come in any order, those whose type is an `Option` may be absent, and the values of unknown ones are passed
/// over. With `[else other: Type = find]`, the last unknown name that `find` knows is kept in `other`.
macro_rules! shape {
    (
        $(#[$about:meta])*
        $shown:vis struct $object:ident $([else $other:ident: $kept:ty = $find:path])? {
            $($(#[$says:meta])* $seen:vis $field:ident $(as $name:literal)?: $type:ty,)+
        }
    ) => {
        $(#[$about])*
        $shown struct $object {
            $($(#[$says])* $seen $field: $type,)+
            $($other: Option<$kept>,)?
        }

        impl $crate::wire::Wire for $object {
            #[allow(non_snake_case)] // Some fields are called as messages are.
            fn read<'de, D: serde::Deserializer<'de>>(
                input: D,
                trail: &$crate::trail::Trail,
            ) -> Result<Self, D::Error> {
                #[allow(non_camel_case_types)]
                enum Field {
                    $($field,)+
                    $(Other($kept),)?
                }

                struct Object<'t>(&'t $crate::trail::Trail);

                impl<'de> serde::de::Visitor<'de> for Object<'_> {
                    type Value = $object;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$object, A::Error> {
                        use $crate::{shape::{Name, other_name, wire_name}, trail::{Problem, Segment}, wire::{Seed, Wire}};

                        let known = |name: &str| match name {
                            $(wire_name!($field $($name)?) => Some(Field::$field),)+
                            _ => other_name!(name $($find)?),
                        };
                        $(let mut $field: Option<$type> = None;)+
                        $(let mut $other: Option<$kept> = None;)?
                        while let Some(name) = map.next_key_seed(Name(known))? {
                            match name {
                                $(Some(Field::$field) => {
                                    let segment = Segment::Field(wire_name!($field $($name)?));
                                    let value = map.next_value_seed(Seed::new(self.0));
                                    let value = self.0.at(segment, value)?;
                                    if $field.replace(value).is_some() {
                                        self.0.note(Problem::Twice);
                                        self.0.push(segment);
                                        return Err(serde::de::Error::custom("a field is there twice"));
                                    }
                                })+
                                $(Some(Field::Other(name)) => {
                                    $other = Some(name);
                                    map.next_value::<serde::de::IgnoredAny>()?;
                                })?
                                None => {
                                    map.next_value::<serde::de::IgnoredAny>()?;
                                }
                            }
                        }
                        Ok($object {
                            $($field: match $field {
                                Some(value) => value,
                                None => <$type as Wire>::absent(wire_name!($field $($name)?), self.0)?,
                            },)+
                            $($other,)?
                        })
                    }
                }

                $crate::wire::expecting("an object", trail, input.deserialize_map(Object(trail)))
            }
        }
    };
}

/// Declares a choice of texts: the first spelling is written, all are read.
macro_rules! choice {
    (
        $(#[$about:meta])*
        $shown:vis enum $choice:ident, $expected:literal {
            $($(#[$says:meta])* $name:ident = $written:literal $(| $also:literal)*,)+
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $shown enum $choice {
            $($(#[$says])* $name,)+
        }

        impl $choice {
            /// All of them.
            #[allow(dead_code)] // Not every choice is listed.
            $shown const ALL: &[Self] = &[$(Self::$name),+];

            /// The one that a text names.
            pub(crate) fn of(text: &str) -> Option<Self> {
                match text {
                    $($written $(| $also)* => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// Its text on the wire.
            #[must_use]
            $shown fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $written,)+
                }
            }
        }

        impl serde::Serialize for $choice {
            fn serialize<S: serde::Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
                output.serialize_str(self.as_str())
            }
        }

        impl $crate::wire::Wire for $choice {
            fn read<'de, D: serde::Deserializer<'de>>(
                input: D,
                trail: &$crate::trail::Trail,
            ) -> Result<Self, D::Error> {
                let read = serde::de::DeserializeSeed::deserialize($crate::shape::Name(Self::of), input);
                match $crate::wire::expecting("a text", trail, read)? {
                    Some(known) => Ok(known),
                    None => {
                        trail.note($crate::trail::Problem::Unknown($expected));
                        Err(serde::de::Error::custom("the text names nothing known"))
                    }
                }
            }
        }
    };
}

pub(crate) use {choice, other_name, shape, wire_name};
