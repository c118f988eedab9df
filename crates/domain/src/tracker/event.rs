//! Events of the channel `state:change`: `entity:action:id[:more]`.
//!
//! An event names no market and is not a measurement: it only says that something changed. Only its entity is kept, for
//! the count of changes.

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entity {
    /// `submission:received|validated:ID`
    Submission,
    /// `epoch:open|closed:E`
    Epoch,
    /// `part:created:E:BATCH`
    Part,
    /// `batch:local|aggregated:E`, `batch:validator:V:E`
    Batch,
    /// `peers:connected:N`
    Peers,
    /// `validation:…`: known to consumers, written by no known producer.
    Validation,
    /// Any other entity.
    Other,
    /// No event at all: fewer than two colons, an empty part, or no text.
    Malformed,
}

impl Entity {
    /// Every entity, in the order of [`EventCounts`].
    pub const ALL: [Self; 8] = [
        Self::Submission,
        Self::Epoch,
        Self::Part,
        Self::Batch,
        Self::Peers,
        Self::Validation,
        Self::Other,
        Self::Malformed,
    ];

    /// Reads the entity of a payload.
    #[must_use]
    pub fn of(payload: &[u8]) -> Self {
        // As bytes, since a payload need not be UTF-8; and three parts at most, since an id may contain colons.
        let mut parts = payload.splitn(3, |&byte| byte == b':');
        let (Some(entity), Some(action), Some(id)) = (parts.next(), parts.next(), parts.next()) else {
            return Self::Malformed;
        };
        if entity.is_empty() || action.is_empty() || id.is_empty() {
            return Self::Malformed;
        }
        match entity {
            b"submission" => Self::Submission,
            b"epoch" => Self::Epoch,
            b"part" => Self::Part,
            b"batch" => Self::Batch,
            b"peers" => Self::Peers,
            b"validation" => Self::Validation,
            _ => Self::Other,
        }
    }

    /// The name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submission => "submission",
            Self::Epoch => "epoch",
            Self::Part => "part",
            Self::Batch => "batch",
            Self::Peers => "peers",
            Self::Validation => "validation",
            Self::Other => "other",
            Self::Malformed => "malformed",
        }
    }
}

/// How many events of each entity were received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventCounts([u64; Entity::ALL.len()]);

impl EventCounts {
    /// Counts one event.
    pub fn add(&mut self, entity: Entity) {
        // The discriminants are the positions in `ALL`.
        self.0[entity as usize] += 1;
    }

    /// The counts that are not zero.
    pub fn iter(&self) -> impl Iterator<Item = (Entity, u64)> + '_ {
        Entity::ALL.into_iter().zip(self.0).filter(|&(_, count)| count > 0)
    }

    /// All events.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// All events but the malformed ones.
    #[must_use]
    pub fn meaningful(&self) -> u64 {
        self.total() - self.0[Entity::Malformed as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entity_is_read_and_nonsense_is_malformed() {
        for (payload, entity) in [
            ("submission:received:1", Entity::Submission),
            ("submission:received:1:with:colons", Entity::Submission),
            ("epoch:open:23000001", Entity::Epoch),
            ("part:created:1:0", Entity::Part),
            ("batch:validator:v-a:1", Entity::Batch),
            ("peers:connected:4", Entity::Peers),
            ("validation:done:9", Entity::Validation),
            ("Submission:received:1", Entity::Other),
            ("submission", Entity::Malformed),
            ("epoch:", Entity::Malformed),
            ("epoch:open:", Entity::Malformed),
            ("epoch::1", Entity::Malformed),
            (":open:1", Entity::Malformed),
            ("::::::", Entity::Malformed),
            ("", Entity::Malformed),
        ] {
            assert_eq!(Entity::of(payload.as_bytes()), entity, "{payload}");
        }
        assert_eq!(Entity::of(&[0xff, b':', 0xfe, b':', 0]), Entity::Other);
    }

    #[test]
    fn counts_keep_entities_apart() {
        let mut counts = EventCounts::default();
        for (times, entity) in (1..).zip(Entity::ALL) {
            (0..times).for_each(|_| counts.add(entity));
        }
        let expected: Vec<_> = Entity::ALL.into_iter().zip(1..).collect();
        assert_eq!(counts.iter().collect::<Vec<_>>(), expected);
        assert_eq!((counts.total(), counts.meaningful()), (36, 28));
        let mut one = EventCounts::default();
        one.add(Entity::Batch);
        let named: Vec<_> = one.iter().map(|(entity, count)| (entity.as_str(), count)).collect();
        assert_eq!(named, [("batch", 1)], "those of which there was none are left out");
    }
}
