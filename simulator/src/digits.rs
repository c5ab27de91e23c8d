//! Numbers as text of a fixed width: `format!` takes several times as long, and replies are full of them.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Appends the last `N` decimal digits.
pub(crate) fn push_decimal<const N: usize>(text: &mut String, number: u64) {
    push::<10, N>(text, number);
}

/// The form of a UUID, from random bits.
pub(crate) fn uuid(a: u64, b: u64) -> String {
    let mut text = String::with_capacity(36);
    push::<16, 8>(&mut text, a >> 32);
    text.push('-');
    push::<16, 4>(&mut text, a >> 16);
    text.push_str("-4");
    push::<16, 3>(&mut text, a);
    text.push('-');
    push::<16, 4>(&mut text, 0x8000 | ((b >> 48) & 0x3fff));
    text.push('-');
    push::<16, 12>(&mut text, b);
    text
}

/// Appends the last `N` digits.
fn push<const RADIX: u64, const N: usize>(text: &mut String, mut number: u64) {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        let value = usize::try_from(number % RADIX).unwrap_or_default();
        *digit = DIGITS.get(value).copied().unwrap_or(b'0');
        number /= RADIX;
    }
    // They are digits, and so text.
    text.push_str(str::from_utf8(&digits).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_format_writes_them() {
        let mut text = String::new();
        push_decimal::<2>(&mut text, 7);
        push_decimal::<4>(&mut text, 2026);
        assert_eq!(text, "072026");
        let (a, b) = (0x0123_4567_89ab_cdef_u64, 0xfedc_ba98_7654_3210_u64);
        let (second, third, fourth) = ((a >> 16) & 0xffff, a & 0xfff, 0x8000 | ((b >> 48) & 0x3fff));
        let tail = b & 0xffff_ffff_ffff;
        assert_eq!(uuid(a, b), format!("{:08x}-{second:04x}-4{third:03x}-{fourth:04x}-{tail:012x}", a >> 32));
    }
}
