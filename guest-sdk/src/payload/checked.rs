//! [`Checked`]: wraps serde_json's serializer to reject values that JSON cannot represent, and reports where they are.
//!
//! serde_json writes NaN and the infinities as `null`, which a reader takes for a missing value. Here they are errors,
//! and every error has a JSON Pointer to the part of the value that caused it.

use std::cell::Cell;
use std::fmt;

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// A value whose floats are checked when it is serialized.
pub(crate) struct Checked<'a, T: ?Sized> {
    value: &'a T,
    place: Place<'a>,
}

/// The position of a part of the value, as a linked list of steps. It is formatted for errors only.
#[derive(Clone, Copy)]
struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    step: Step<'a>,
    /// Whether an error already contains its place. Shared by all parts of one value.
    located: &'a Cell<bool>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Index(usize),
    Name(&'static str),
    /// A key of a map.
    Key(&'a dyn Fn() -> String),
}

impl<'a, T: ?Sized> Checked<'a, T> {
    /// Wraps a whole value. The caller passes `located` as false.
    pub(crate) fn new(value: &'a T, located: &'a Cell<bool>) -> Self {
        let place = Place {
            parent: None,
            step: Step::Root,
            located,
        };
        Self { value, place }
    }
}

impl<T: Serialize + ?Sized> Serialize for Checked<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let serializer = Checking {
            inner: serializer,
            place: &self.place,
        };
        self.value.serialize(serializer).map_err(|error| {
            // An error propagates from the innermost part outwards, which has the most precise place.
            if self.place.located.replace(true) {
                return error;
            }
            S::Error::custom(format_args!("{error} (at {:?})", self.place.to_string()))
        })
    }
}

impl<'a> Place<'a> {
    fn inside(&'a self, step: Step<'a>) -> Self {
        Place {
            parent: Some(self),
            step,
            located: self.located,
        }
    }
}

/// A JSON Pointer (RFC 6901).
impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Index(index) => write!(f, "/{index}"),
            Step::Name(name) => write!(f, "/{}", escaped(name)),
            Step::Key(key) => write!(f, "/{}", escaped(&key())),
        }
    }
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The key as it is written in the JSON text.
fn key_text(key: &(impl Serialize + ?Sized)) -> String {
    match serde_json::to_value(key) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(_) => "?".to_owned(),
    }
}

struct Checking<'p, S> {
    inner: S,
    place: &'p Place<'p>,
}

fn not_finite<E: Error>(value: impl fmt::Display) -> E {
    E::custom(format_args!("JSON has no number {value}"))
}

/// Methods of [`Serializer`] that forward a value without parts.
macro_rules! hand_on {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {$(
        fn $method(self, $($argument: $type),*) -> Result<S::Ok, S::Error> {
            self.inner.$method($($argument),*)
        }
    )*};
}

impl<'p, S: Serializer> Serializer for Checking<'p, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Parts<'p, S::SerializeSeq>;
    type SerializeTuple = Parts<'p, S::SerializeTuple>;
    type SerializeTupleStruct = Parts<'p, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Parts<'p, S::SerializeTupleVariant>;
    type SerializeMap = Parts<'p, S::SerializeMap>;
    type SerializeStruct = Parts<'p, S::SerializeStruct>;
    type SerializeStructVariant = Parts<'p, S::SerializeStructVariant>;

    hand_on! {
        serialize_bool(v: bool);
        serialize_i8(v: i8);
        serialize_i16(v: i16);
        serialize_i32(v: i32);
        serialize_i64(v: i64);
        serialize_i128(v: i128);
        serialize_u8(v: u8);
        serialize_u16(v: u16);
        serialize_u32(v: u32);
        serialize_u64(v: u64);
        serialize_u128(v: u128);
        serialize_char(v: char);
        serialize_str(v: &str);
        serialize_bytes(v: &[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(name: &'static str);
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str);
    }

    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        match value.is_finite() {
            true => self.inner.serialize_f32(value),
            false => Err(not_finite(value)),
        }
    }

    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        match value.is_finite() {
            true => self.inner.serialize_f64(value),
            false => Err(not_finite(value)),
        }
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let place = *self.place;
        self.inner.serialize_some(&Checked { value, place })
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<S::Ok, S::Error> {
        let place = *self.place;
        self.inner.serialize_newtype_struct(name, &Checked { value, place })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let place = self.place.inside(Step::Name(variant));
        self.inner
            .serialize_newtype_variant(name, index, variant, &Checked { value, place })
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        Ok(Parts::of(self.inner.serialize_seq(length)?, *self.place))
    }

    fn serialize_tuple(self, length: usize) -> Result<Self::SerializeTuple, S::Error> {
        Ok(Parts::of(self.inner.serialize_tuple(length)?, *self.place))
    }

    fn serialize_tuple_struct(self, name: &'static str, length: usize) -> Result<Self::SerializeTupleStruct, S::Error> {
        Ok(Parts::of(self.inner.serialize_tuple_struct(name, length)?, *self.place))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        let inner = self.inner.serialize_tuple_variant(name, index, variant, length)?;
        Ok(Parts::of_variant(inner, *self.place, variant))
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        Ok(Parts::of(self.inner.serialize_map(length)?, *self.place))
    }

    fn serialize_struct(self, name: &'static str, length: usize) -> Result<Self::SerializeStruct, S::Error> {
        Ok(Parts::of(self.inner.serialize_struct(name, length)?, *self.place))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        let inner = self.inner.serialize_struct_variant(name, index, variant, length)?;
        Ok(Parts::of_variant(inner, *self.place, variant))
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// The parts of a sequence, map or struct.
struct Parts<'p, C> {
    inner: C,
    place: Place<'p>,
    /// The enum variant that contains the parts, if any.
    variant: Option<&'static str>,
    /// The number of elements written so far.
    count: usize,
}

impl<'p, C> Parts<'p, C> {
    fn of(inner: C, place: Place<'p>) -> Self {
        Self {
            inner,
            place,
            variant: None,
            count: 0,
        }
    }

    fn of_variant(inner: C, place: Place<'p>, variant: &'static str) -> Self {
        Self {
            variant: Some(variant),
            ..Self::of(inner, place)
        }
    }

    /// Forwards one part, checked.
    fn part<T: ?Sized, O>(
        &mut self,
        step: Step<'_>,
        value: &T,
        hand_on: impl FnOnce(&mut C, &Checked<'_, T>) -> O,
    ) -> O {
        let outer = match self.variant {
            Some(variant) => self.place.inside(Step::Name(variant)),
            None => self.place,
        };
        let place = outer.inside(step);
        hand_on(&mut self.inner, &Checked { value, place })
    }

    fn element<T: ?Sized, O>(&mut self, value: &T, hand_on: impl FnOnce(&mut C, &Checked<'_, T>) -> O) -> O {
        let index = self.count;
        self.count += 1;
        self.part(Step::Index(index), value, hand_on)
    }
}

/// Implements the traits whose parts are numbered.
macro_rules! numbered {
    ($($trait:ident::$method:ident;)*) => {$(
        impl<C: $trait> $trait for Parts<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
                self.element(value, |inner, value| inner.$method(value))
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.inner.end()
            }
        }
    )*};
}

numbered! {
    SerializeSeq::serialize_element;
    SerializeTuple::serialize_element;
    SerializeTupleStruct::serialize_field;
    SerializeTupleVariant::serialize_field;
}

/// Implements the traits whose parts are named.
macro_rules! named {
    ($($trait:ident;)*) => {$(
        impl<C: $trait> $trait for Parts<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), C::Error> {
                self.part(Step::Name(name), value, |inner, value| inner.serialize_field(name, value))
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), C::Error> {
                self.inner.skip_field(name)
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.inner.end()
            }
        }
    )*};
}

named! {
    SerializeStruct;
    SerializeStructVariant;
}

impl<C: SerializeMap> SerializeMap for Parts<'_, C> {
    type Ok = C::Ok;
    type Error = C::Error;

    /// serde_json checks the keys itself.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), C::Error> {
        self.inner.serialize_key(key)
    }

    /// If a type writes keys and values separately, the key is unknown here and the place has `?` instead.
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        let key = || "?".to_owned();
        self.part(Step::Key(&key), value, |inner, value| inner.serialize_value(value))
    }

    fn serialize_entry<K: Serialize + ?Sized, V: Serialize + ?Sized>(
        &mut self,
        key: &K,
        value: &V,
    ) -> Result<(), C::Error> {
        let text = || key_text(key);
        self.part(Step::Key(&text), value, |inner, value| {
            inner.serialize_entry(key, value)
        })
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.inner.end()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;
    use serde_json::value::RawValue;

    use super::*;

    fn write(value: &impl Serialize) -> Result<String, String> {
        serde_json::to_string(&Checked::new(value, &Cell::new(false))).map_err(|error| error.to_string())
    }

    #[derive(Serialize)]
    struct Order {
        lines: Vec<Line>,
        #[serde(flatten)]
        more: BTreeMap<String, f32>,
    }

    #[derive(Serialize)]
    struct Line {
        price: Option<f64>,
    }

    #[derive(Serialize)]
    enum Shape {
        Unit,
        Newtype(f64),
        Tuple(f32, f64),
        Struct { side: f64 },
    }

    #[derive(Serialize)]
    #[serde(tag = "kind")]
    enum Tagged {
        Circle { radius: f64 },
    }

    #[derive(Serialize)]
    struct Wrapper(f64);

    #[test]
    fn a_number_that_json_cannot_represent_is_refused_with_its_place() {
        let order = |price, more: f32| Order {
            lines: vec![Line { price: None }, Line { price: Some(price) }],
            more: BTreeMap::from([("a/b~".to_owned(), more)]),
        };
        assert_eq!(
            write(&order(1.5, 2.5)),
            Ok(r#"{"lines":[{"price":null},{"price":1.5}],"a/b~":2.5}"#.into())
        );
        let refused = |value: &dyn Fn() -> Result<String, String>| value().unwrap_err();
        assert_eq!(
            refused(&|| write(&order(f64::NAN, 0.0))),
            r#"JSON has no number NaN (at "/lines/1/price")"#
        );
        assert_eq!(
            refused(&|| write(&order(0.0, f32::NEG_INFINITY))),
            r#"JSON has no number -inf (at "/a~1b~0")"#
        );
        assert_eq!(refused(&|| write(&f64::INFINITY)), r#"JSON has no number inf (at "")"#);
        assert_eq!(
            refused(&|| write(&Wrapper(f64::NAN))),
            r#"JSON has no number NaN (at "")"#
        );
        assert_eq!(
            refused(&|| write(&(1, [0.0, f64::NAN]))),
            r#"JSON has no number NaN (at "/1/1")"#
        );
        let by_number = BTreeMap::from([(7, f64::NAN)]);
        assert_eq!(refused(&|| write(&by_number)), r#"JSON has no number NaN (at "/7")"#);
        for (shape, place) in [
            (Shape::Newtype(f64::NAN), "/Newtype"),
            (Shape::Tuple(0.0, f64::NAN), "/Tuple/1"),
            (Shape::Struct { side: f64::NAN }, "/Struct/side"),
        ] {
            assert_eq!(
                refused(&|| write(&shape)),
                format!("JSON has no number NaN (at {place:?})")
            );
        }
        assert_eq!(
            refused(&|| write(&Tagged::Circle { radius: f64::NAN })),
            r#"JSON has no number NaN (at "/radius")"#
        );
    }

    /// The check must not change the output.
    #[test]
    fn everything_else_is_written_as_serde_json_does() {
        #[track_caller]
        fn check(value: &impl Serialize) {
            assert_eq!(
                write(value),
                serde_json::to_string(value).map_err(|error| error.to_string())
            );
        }
        check(&(true, 'c', "text", (), u128::MAX, i128::MIN, None::<u8>, [0_u8; 0]));
        check(&[
            Shape::Unit,
            Shape::Newtype(0.1),
            Shape::Tuple(0.1, -0.0),
            Shape::Struct { side: 1e300 },
        ]);
        check(&RawValue::from_string(r#"{"a": 1.0}"#.into()).unwrap());
        check(&serde_json::json!({ "a": [1, 2.5, null], "b": { "c": "d" } }));
        check(&BTreeMap::from([(1, "one")]));
    }
}
