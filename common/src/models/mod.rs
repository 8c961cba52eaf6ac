//! The models that can be registered by a certified device ID, and the form of each one's certified ID.
//!
//! The built-in table is `data/chromeos-models.csv`: the models of Google's help page for zero-touch
//! enrollment of ChromeOS devices, under its names. A new model is a new row: there, or in a table of
//! the same form that an installation loads beside it ([`Models::merge`]). [`crate::eligibility`] applies a
//! row to one unit.

mod table;

pub use table::InvalidTable;

use crate::{date::Date, identity::fold_name};
use std::{collections::BTreeMap, sync::LazyLock};

/// Table of models, found by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Models {
    rows: Vec<Model>,
    /// The row of each name, folded; a model with two names is there twice.
    by_name: BTreeMap<String, usize>,
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// The name under which it is registered.
    pub name: String,
    /// The brand that sells it.
    pub brand: String,
    /// The first eligible day of manufacture; without it, every unit is eligible.
    pub manufactured_from: Option<Date>,
    /// The form of its certified device ID.
    pub certified_id: CertifiedId,
    /// A peculiarity of this model.
    pub footnote: Option<Footnote>,
}

/// The form of a model's certified device ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertifiedId {
    /// `serial`: the serial number.
    Serial,
    /// `dell_service_tag`: the service tag of 7 letters and digits.
    DellServiceTag,
    /// `lenovo_1s_mtm_serial`: `1S`, machine type and model, serial number.
    LenovoMtmSerial,
    /// `lenovo_1s_origin_mac`: `1S`, the place of manufacture (`C1KS` China, `C1VM` Vietnam), MAC address.
    LenovoOriginMac,
    /// `asus_certified_id`: an opaque token of capitals, digits and `-`.
    AsusToken,
}

/// The meaning of a footnote of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Footnote {
    /// 1: the serial number itself is the whole `1S` string.
    SerialIsWholeString,
    /// 2: labels of units made before the date leave out the last of the serial number's 15
    /// characters; such units cannot be registered.
    ShortLabels,
    /// 3: the certified ID ends in the MAC address, and contains the place of manufacture.
    OriginAndMac,
    /// 4: there is a second model of the same name followed by ` (15w)`.
    TwoNames,
}

/// The end of the second name of a model with footnote 4.
pub const SECOND_NAME: &str = " (15w)";

static BUILT_IN: LazyLock<Models> = LazyLock::new(|| {
    // A test reads every row of it, so this cannot fail where it ships.
    Models::parse(include_bytes!("../../data/chromeos-models.csv")).unwrap_or_default()
});

impl Models {
    /// Returns the table that this version was built with.
    #[must_use]
    pub fn built_in() -> &'static Self {
        &BUILT_IN
    }

    /// Reads a table: CSV with the columns `model`, `brand`, `manufactured_from`, `certified_id` and
    /// `footnote`, in any order.
    ///
    /// # Errors
    /// [`InvalidTable`]: the first line and column that is wrong.
    pub fn parse(csv: &[u8]) -> Result<Self, InvalidTable> {
        table::read(csv)
    }

    /// Merges this table with a further one; if both have a name, the row of the further one counts.
    #[must_use]
    pub fn merge(&self, further: &Self) -> Self {
        let kept = self.rows.iter().filter(|row| further.find(&row.name).is_none());
        let mut both = Self::default();
        kept.chain(&further.rows).for_each(|row| both.insert(row.clone()));
        both
    }

    /// Finds the model of this name, however it is spaced, capitalised and accented.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Model> {
        self.rows.get(*self.by_name.get(&fold_name(name))?)
    }

    /// Returns every row, in the order of the table.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Model> {
        self.rows.iter()
    }

    fn insert(&mut self, model: Model) {
        let at = self.rows.len();
        self.by_name.extend(model.names().map(|name| (fold_name(&name), at)));
        self.rows.push(model);
    }
}

impl Model {
    /// Returns true if the serial number itself is the whole `1S` string.
    #[must_use]
    pub fn has_whole_string_serial(&self) -> bool {
        self.footnote == Some(Footnote::SerialIsWholeString)
    }

    /// Returns every name under which it may be registered.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let second =
            (self.footnote == Some(Footnote::TwoNames)).then(|| format!("{}{SECOND_NAME}", self.name));
        std::iter::once(self.name.clone()).chain(second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &str) -> Models {
        Models::parse(format!("model,brand,manufactured_from,certified_id,footnote\n{rows}").as_bytes())
            .unwrap()
    }

    #[test]
    fn a_model_is_found_however_it_is_written() {
        let models = Models::built_in();
        for name in [
            "Chromebook Lenovo 14e 2e génération",
            "chromebook  LENOVO 14e 2E generation ",
            "Chromebook Lenovo 14e 2e ge\u{301}ne\u{301}ration",
            "Chromebook\u{a0}Lenovo 14e 2e GÉNÉRATION",
        ] {
            assert_eq!(models.find(name).map(|model| model.brand.as_str()), Some("Lenovo"), "{name}");
        }
        for name in ["", "Lenovo", "Chromebook Lenovo 14e 9e génération", "Chromebook Dell 3110 (15w)"] {
            assert_eq!(models.find(name), None, "{name}");
        }
    }

    #[test]
    fn a_model_of_two_names_is_found_by_both() {
        let models = Models::built_in();
        let plain = models.find("Chromebook Lenovo 14e 3e génération");
        assert!(plain.is_some());
        assert_eq!(models.find("Chromebook Lenovo 14e 3e génération (15w)"), plain);
    }

    #[test]
    fn a_further_table_adds_models_and_changes_them() {
        let both = table("A,Acme,,serial,\nB,Acme,,serial,4\nC,Acme,,serial,")
            .merge(&table("D,Acme,,serial,\nb,Acme,2026-01-01,asus_certified_id,"));
        assert_eq!(both.iter().map(|model| model.name.as_str()).collect::<Vec<_>>(), ["A", "C", "D", "b"]);
        assert_eq!(both.find("B").unwrap().certified_id, CertifiedId::AsusToken);
        assert_eq!(both.find("B (15w)"), None, "the row that counts has one name");
        assert_eq!(both.find("c").unwrap().name, "C");
    }
}
