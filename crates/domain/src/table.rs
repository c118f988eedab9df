//! How a table of facts is written: rows with names, and the list of all rows, in one place.

/// Declares rows, each under a name for the code that uses it, and a static slice of all of them in their order.
///
/// A list beside the rows could forget a row; the slice that this macro makes can't.
///
/// ```
/// domain::table! {
///     /// The colours that are known.
///     pub COLOURS: &str;
///     /// The first one.
///     pub RED = "red";
///     GREEN = "green";
/// }
/// assert_eq!((RED, COLOURS), ("red", &["red", "green"][..]));
/// ```
#[macro_export]
macro_rules! table {
    (
        $(#[$about:meta])* $shown:vis $table:ident: $row:ty;
        $($(#[$says:meta])* $seen:vis $name:ident = $value:expr;)+
    ) => {
        $($(#[$says])* $seen const $name: $row = $value;)+
        $(#[$about])*
        $shown static $table: &[$row] = &[$($name),+];
    };
}
