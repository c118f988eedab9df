//! Ids that occur twice in a list.

/// The index of the first entry whose id an earlier entry has.
pub(crate) fn first_repeated<T>(list: &[T], id: impl Fn(&T) -> u32) -> Option<usize> {
    // Most senders number their peers in order.
    if list.windows(2).all(|pair| id(&pair[0]) < id(&pair[1])) {
        return None;
    }
    let mut ids: Vec<(u32, usize)> =
        list.iter().enumerate().map(|(index, entry)| (id(entry), index)).collect();
    ids.sort_unstable();
    let repeated = ids.windows(2).filter(|pair| pair[0].0 == pair[1].0);
    repeated.map(|pair| pair[1].1).min()
}
