//! The names of the months, as `ls` prints them in the languages of its servers.

/// Reads a month's name, short or long, with or without a full stop or comma; 1 is January.
pub(super) fn month(name: &[u8]) -> Option<i8> {
    let name = name.strip_suffix(b",").unwrap_or(name);
    let name = name.strip_suffix(b".").unwrap_or(name);
    let english = |month: &&[u8]| month.eq_ignore_ascii_case(name);
    let at = ENGLISH.iter().position(english).or_else(|| {
        OTHERS
            .iter()
            .position(|names| names.split(' ').any(|month| is_name(name, month)))
    })?;
    Some(at as i8 + 1)
}

/// True if `text` is `month` in any case, in UTF-8 or in a charset of one byte a letter.
fn is_name(text: &[u8], month: &str) -> bool {
    if let Ok(text) = str::from_utf8(text) {
        return text.chars().flat_map(char::to_lowercase).eq(month.chars());
    }
    text.len() == month.chars().count()
        && text.iter().zip(month.chars()).all(|(&byte, letter)| {
            match letter {
                '\0'..='\x7f' => byte.eq_ignore_ascii_case(&(letter as u8)),
                // Windows-1251 has the alphabet in order, the capitals before the small letters.
                'а'..='я' => byte | 0x20 == (letter as u32 - 'а' as u32) as u8 + 0xe0,
                // Which charset of Western or Central Europe it is does not matter: the letters around tell the month.
                _ => !byte.is_ascii(),
            }
        })
}

/// The months of most servers, tried first.
const ENGLISH: [&[u8]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// Long English names; German, French, Spanish, Italian, Portuguese, Dutch, Scandinavian, Polish, Czech, Hungarian,
/// Finnish, Turkish and Russian ones where they differ from all before. In small letters.
const OTHERS: [&str; 12] = [
    "january januar janv janvier ene enero gen gennaio sty led tammi oca янв",
    "february februar fév févr février fevr fev febrero febbraio lut úno helmi şub фев",
    "march mär märz mrz mars marzo mrt bře márc maalis мар",
    "april avr avril abr abril aprile kwi dub ápr huhti nis апр",
    "mai mayo mag maggio mei maj kvě máj touko май мая",
    "june juni juin junio giu giugno cze čen jún kesä haz июн",
    "july juli juil juillet julio lug luglio lip čec júl heinä tem июл",
    "august aoû août aout ago agosto sie srp elo ağu авг",
    "september sept septembre septiembre set settembre wrz zář szept syys eyl сен",
    "october okt oktober octobre octubre ott ottobre out paź říj loka eki окт",
    "november novembre noviembre lis marras kas ноя",
    "december dez dezember des déc décembre dic diciembre dicembre gru pro joulu ara дек",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_read_in_many_languages() {
        for (name, number) in [
            ("Jan", 1),
            ("january", 1),
            ("janv.", 1),
            ("ene", 1),
            ("gen", 1),
            ("févr.", 2),
            ("Mär", 3),
            ("Mai", 5),
            ("giu", 6),
            ("Juli,", 7),
            ("lug", 7),
            ("août", 8),
            ("szept", 9),
            ("set", 9),
            ("Okt.,", 10),
            ("ott", 10),
            ("paź", 10),
            ("Dez", 12),
            ("déc.", 12),
            ("dic", 12),
            ("ЯНВ", 1),
            ("мая", 5),
        ] {
            assert_eq!(month(name.as_bytes()), Some(number), "{name}");
        }
    }

    #[test]
    fn months_are_read_in_charsets_of_one_byte() {
        for (name, number) in [
            (&b"M\xe4r"[..], 3),
            (b"M\xc4RZ", 3),
            (b"f\x82v", 2),
            (b"pa\xbc", 10),
            (b"\xff\xed\xe2", 1),
            (b"\xcd\xee\xff", 11),
        ] {
            assert_eq!(month(name), Some(number), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn every_name_is_of_one_month_only() {
        let mut names: Vec<_> = OTHERS.iter().flat_map(|names| names.split(' ')).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for name in names {
            let at = OTHERS
                .iter()
                .position(|names| names.split(' ').any(|other| other == name));
            assert_eq!(
                month(name.as_bytes()),
                at.map(|at| at as i8 + 1),
                "{name} is English for another month"
            );
        }
    }

    #[test]
    fn other_words_are_no_months() {
        for name in [&b""[..], b".", b"Nob", b"J", b"\xff\xff\xff", b"root"] {
            assert_eq!(month(name), None, "{}", name.escape_ascii());
        }
    }
}
