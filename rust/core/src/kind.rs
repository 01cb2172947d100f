//! The kinds of message, and everything that is particular to one of them.
//!
//! [`Topic::parse`](crate::Topic::parse) decides the kind of a message. The judge is compiled once
//! for each kind (its type parameter `K: Kind`), so that names and tables are constants in its
//! loops.
//!
//! To add a kind, such as `EnOS`'s attributes:
//!
//! 1. a variant of [`MessageKind`], also in `ALL`; the compiler then lists the `match`es that lack
//!    it, one of them in `request.rs`;
//! 2. a type beside [`Measurepoint`] with its [`KindTable`];
//! 3. if the thing model keeps its points apart, a [`Section`] of [`ThingModel`], which
//!    `model/shapes.rs` compiles;
//! 4. its columns, if what identifies a value differs: [`Points`](crate::Points) keys values by
//!    product, device, identifier and time.

use crate::model::{Section, ThingModel};

/// What a message reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageKind {
    /// Measured values, each with its time.
    Measurepoint,
}

impl MessageKind {
    pub(crate) const ALL: [Self; 1] = [Self::Measurepoint];

    pub(crate) const fn table(self) -> &'static KindTable {
        match self {
            Self::Measurepoint => &Measurepoint::TABLE,
        }
    }

    pub(crate) fn section(self, model: &ThingModel) -> &Section {
        match self {
            Self::Measurepoint => Measurepoint::section(model),
        }
    }
}

/// A kind of message as a type.
pub(crate) trait Kind {
    const TABLE: KindTable;

    /// The part of a model that has this kind's points.
    fn section(model: &ThingModel) -> &Section;
}

/// The names of a kind.
#[derive(Debug)]
pub(crate) struct KindTable {
    /// The topic's part behind the product key (contract 1.1).
    pub(crate) topic: &'static str,
    /// The request's `method` (contract 3.1).
    pub(crate) method: &'static str,
    /// The member of an entry that has its points.
    pub(crate) points: &'static str,
    /// The members of an entry that are read (contract 3.4), the longest ones first. A kind whose
    /// entries have no time leaves it out.
    pub(crate) members: &'static [Member],
    /// `members` as payloads spell them, with quotes and colon.
    pub(crate) spelled: &'static [&'static str],
    pub(crate) model: SectionNames,
}

/// A member of an entry; members are judged in this order, whatever their order in the payload
/// (contract 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Member {
    DeviceKey,
    Points,
    Time,
}

impl Member {
    /// How many members there are.
    pub(crate) const COUNT: usize = 3;
}

impl KindTable {
    pub(crate) const fn name_of(&self, member: Member) -> &'static str {
        match member {
            Member::DeviceKey => "deviceKey",
            Member::Points => self.points,
            Member::Time => "time",
        }
    }
}

/// What a kind's section of a model document is called (contract 6.1).
#[derive(Debug)]
pub(crate) struct SectionNames {
    /// In the shape of the model service's API.
    pub(crate) api: &'static str,
    /// In the shape of the console's export.
    pub(crate) export: &'static str,
    /// The export's member that lets a post have points that the model lacks.
    pub(crate) allow_additional: &'static str,
    /// What the export's class names end with: `TSLDoubleMeasurepoint`.
    pub(crate) class_suffix: &'static str,
}

/// [`MessageKind::Measurepoint`].
pub(crate) enum Measurepoint {}

impl Kind for Measurepoint {
    const TABLE: KindTable = KindTable {
        topic: "/integration/measurepoint/post",
        method: "integration.measurepoint.post",
        points: "measurepoints",
        members: &[Member::Points, Member::DeviceKey, Member::Time],
        spelled: &["\"measurepoints\":", "\"deviceKey\":", "\"time\":"],
        model: SectionNames {
            api: "measurepoints",
            export: "thingMeasurepointMap",
            allow_additional: "allowAdditionalMeasurepoint",
            class_suffix: "Measurepoint",
        },
    };

    #[inline(always)]
    fn section(model: &ThingModel) -> &Section {
        &model.measurepoints
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_spelled_as_they_are_named() {
        for kind in MessageKind::ALL {
            let table = kind.table();
            let spelled: Vec<_> =
                table.members.iter().map(|&member| format!("\"{}\":", table.name_of(member))).collect();
            assert_eq!(table.spelled, spelled);
        }
    }
}
