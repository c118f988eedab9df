//! Lists of values that something else keeps alive.

use std::sync::{Arc, Weak};

/// Room for this many more is worth no sweep.
const SPARE: usize = 4;

/// Adds a value. Those that are gone are forgotten when the list is full, so it stays within a factor of the values that exist,
/// at a constant cost for each addition.
pub(crate) fn push<T: ?Sized>(list: &mut Vec<Weak<T>>, value: &Arc<T>) {
    if list.len() == list.capacity() {
        list.retain(|known| known.strong_count() > 0);
        let room = list.len() + SPARE;
        list.shrink_to(list.len() + room);
        list.reserve_exact(room);
    }
    list.push(Arc::downgrade(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_all_that_exist_and_few_that_are_gone() {
        let (mut list, mut kept) = (Vec::new(), Vec::new());
        for number in 0..10_000_usize {
            let value = Arc::new(number);
            push(&mut list, &value);
            if number < 1_000 {
                kept.push(value);
            } else if number == 5_000 {
                kept.truncate(10);
            }
            let most = if number < 7_100 { 2 * 1_000 } else { 2 * 10 } + 2 * SPARE;
            assert!(list.capacity() <= most, "{} for {}", list.capacity(), kept.len());
            if number % 100 == 0 {
                let known: Vec<_> = list.iter().filter_map(Weak::upgrade).collect();
                assert!(known.starts_with(&kept), "{known:?}");
            }
        }
    }
}
