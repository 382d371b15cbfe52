//! How is a double printed in few digits? Grisu2 of Florian Loitsch ("Printing Floating-Point Numbers
//! Quickly and Accurately with Integers", PLDI 2010), not a shortest-digits algorithm on purpose: about
//! one double in a thousand gets a digit more than needed, and Redis prints that very digit.
//!
//! Invariant: all arithmetic is on 64-bit significands with a power-of-two exponent; the cached powers
//! of ten are 10^-348, 10^-340 .. 10^340, rounded to nearest.

/// `frac * 2^exp`.
#[derive(Clone, Copy)]
struct Fp {
    frac: u64,
    exp: i32,
}

const HIDDEN_BIT: u64 = 1 << 52;
const FIRST_POWER: i32 = -348;
const STEP: i32 = 8;
/// The scaled exponent must land here so that the integral part fits 32 bits.
const MIN_EXP: i32 = -60;
const MAX_EXP: i32 = -32;

/// At most 17 digits, and the power of ten of the last one.
pub(super) struct Digits {
    pub text: [u8; 18],
    pub len: usize,
    pub exp10: i32,
}

impl Fp {
    /// The product, rounded half up in its last bit.
    fn times(self, other: Fp) -> Fp {
        let product = u128::from(self.frac) * u128::from(other.frac) + (1 << 63);
        Fp { frac: (product >> 64) as u64, exp: self.exp + other.exp + 64 }
    }

    fn normalized(self) -> Fp {
        let shift = self.frac.leading_zeros();
        Fp { frac: self.frac << shift, exp: self.exp - shift as i32 }
    }
}

/// The decimal digits of a positive, finite, non-zero double.
pub(super) fn digits(value: f64) -> Digits {
    let bits = value.to_bits();
    let (biased, frac) = ((bits >> 52) as i32 & 0x7ff, bits & (HIDDEN_BIT - 1));
    let exact = match biased {
        0 => Fp { frac, exp: -1074 },
        _ => Fp { frac: frac | HIDDEN_BIT, exp: biased - 1075 },
    };
    // Halfway to the neighbours; below a power of two the neighbour is twice as near.
    let upper = Fp { frac: exact.frac * 2 + 1, exp: exact.exp - 1 }.normalized();
    let down = if exact.frac == HIDDEN_BIT { 2 } else { 1 };
    let lower = Fp { frac: (exact.frac << down) - 1, exp: exact.exp - down };
    let lower = Fp { frac: lower.frac << (lower.exp - upper.exp), exp: upper.exp };

    let (power, k) = cached_power(upper.exp);
    let exact = exact.normalized().times(power);
    let (lower, upper) = (lower.times(power), upper.times(power));
    // Shrink by the error of the multiplications, so that everything inside is certain.
    let (lower, upper) = (Fp { frac: lower.frac + 1, ..lower }, Fp { frac: upper.frac - 1, ..upper });

    let mut out = Digits { text: [b'0'; 18], len: 0, exp10: -k };
    generate(exact, upper, upper.frac - lower.frac, &mut out);
    out
}

/// The cached power that brings `exp` into the window, and its decimal exponent.
fn cached_power(exp: i32) -> (Fp, i32) {
    let mut at = {
        let approx = (f64::from(-(exp + POWERS.len() as i32)) * std::f64::consts::LOG10_2) as i32;
        ((approx - FIRST_POWER) / STEP) as usize
    };
    loop {
        let (frac, power_exp) = POWERS[at];
        let scaled = exp + i32::from(power_exp) + 64;
        if scaled < MIN_EXP {
            at += 1;
        } else if scaled > MAX_EXP {
            at -= 1;
        } else {
            return (Fp { frac, exp: i32::from(power_exp) }, FIRST_POWER + at as i32 * STEP);
        }
    }
}

/// Emits digits of `upper` until what is left is within `delta`, then walks the last digit towards `exact`.
fn generate(exact: Fp, upper: Fp, mut delta: u64, out: &mut Digits) {
    let distance = upper.frac - exact.frac;
    let shift = -upper.exp as u32;
    let one = 1u64 << shift;
    let mut integral = upper.frac >> shift;
    let mut fraction = upper.frac & (one - 1);

    let mut weight: u64 = 1_000_000_000;
    for kappa in (0..10).rev() {
        push_digit(out, integral / weight);
        integral %= weight;
        let rest = (integral << shift) + fraction;
        if rest <= delta {
            out.exp10 += kappa;
            round_last(out, delta, rest, weight << shift, distance);
            return;
        }
        weight /= 10;
    }
    let (mut kappa, mut scale) = (0, 1u64);
    loop {
        // Both stay below 2^64: the fraction is below 2^60 and delta below it.
        fraction *= 10;
        delta = delta.wrapping_mul(10);
        scale = scale.wrapping_mul(10);
        kappa -= 1;
        push_digit(out, fraction >> shift);
        fraction &= one - 1;
        if fraction < delta {
            out.exp10 += kappa;
            round_last(out, delta, fraction, one, distance.wrapping_mul(scale));
            return;
        }
    }
}

fn push_digit(out: &mut Digits, digit: u64) {
    if digit != 0 || out.len != 0 {
        out.text[out.len] = b'0' + digit as u8;
        out.len += 1;
    }
}

/// Lowers the last digit while that stays inside the interval and comes nearer to the exact value.
fn round_last(out: &mut Digits, delta: u64, mut rest: u64, unit: u64, distance: u64) {
    while rest < distance
        && delta - rest >= unit
        && (rest.wrapping_add(unit) < distance
            || distance - rest > rest.wrapping_add(unit).wrapping_sub(distance))
    {
        out.text[out.len - 1] -= 1;
        rest += unit;
    }
}

/// 10^(-348 + 8i) as a normalised 64-bit significand and its power of two.
#[rustfmt::skip]
const POWERS: [(u64, i16); 87] = [
    (0xfa8fd5a0081c0288, -1220), (0xbaaee17fa23ebf76, -1193), (0x8b16fb203055ac76, -1166),
    (0xcf42894a5dce35ea, -1140), (0x9a6bb0aa55653b2d, -1113), (0xe61acf033d1a45df, -1087),
    (0xab70fe17c79ac6ca, -1060), (0xff77b1fcbebcdc4f, -1034), (0xbe5691ef416bd60c, -1007),
    (0x8dd01fad907ffc3c, -980), (0xd3515c2831559a83, -954), (0x9d71ac8fada6c9b5, -927),
    (0xea9c227723ee8bcb, -901), (0xaecc49914078536d, -874), (0x823c12795db6ce57, -847),
    (0xc21094364dfb5637, -821), (0x9096ea6f3848984f, -794), (0xd77485cb25823ac7, -768),
    (0xa086cfcd97bf97f4, -741), (0xef340a98172aace5, -715), (0xb23867fb2a35b28e, -688),
    (0x84c8d4dfd2c63f3b, -661), (0xc5dd44271ad3cdba, -635), (0x936b9fcebb25c996, -608),
    (0xdbac6c247d62a584, -582), (0xa3ab66580d5fdaf6, -555), (0xf3e2f893dec3f126, -529),
    (0xb5b5ada8aaff80b8, -502), (0x87625f056c7c4a8b, -475), (0xc9bcff6034c13053, -449),
    (0x964e858c91ba2655, -422), (0xdff9772470297ebd, -396), (0xa6dfbd9fb8e5b88f, -369),
    (0xf8a95fcf88747d94, -343), (0xb94470938fa89bcf, -316), (0x8a08f0f8bf0f156b, -289),
    (0xcdb02555653131b6, -263), (0x993fe2c6d07b7fac, -236), (0xe45c10c42a2b3b06, -210),
    (0xaa242499697392d3, -183), (0xfd87b5f28300ca0e, -157), (0xbce5086492111aeb, -130),
    (0x8cbccc096f5088cc, -103), (0xd1b71758e219652c, -77), (0x9c40000000000000, -50),
    (0xe8d4a51000000000, -24), (0xad78ebc5ac620000, 3), (0x813f3978f8940984, 30),
    (0xc097ce7bc90715b3, 56), (0x8f7e32ce7bea5c70, 83), (0xd5d238a4abe98068, 109),
    (0x9f4f2726179a2245, 136), (0xed63a231d4c4fb27, 162), (0xb0de65388cc8ada8, 189),
    (0x83c7088e1aab65db, 216), (0xc45d1df942711d9a, 242), (0x924d692ca61be758, 269),
    (0xda01ee641a708dea, 295), (0xa26da3999aef774a, 322), (0xf209787bb47d6b85, 348),
    (0xb454e4a179dd1877, 375), (0x865b86925b9bc5c2, 402), (0xc83553c5c8965d3d, 428),
    (0x952ab45cfa97a0b3, 455), (0xde469fbd99a05fe3, 481), (0xa59bc234db398c25, 508),
    (0xf6c69a72a3989f5c, 534), (0xb7dcbf5354e9bece, 561), (0x88fcf317f22241e2, 588),
    (0xcc20ce9bd35c78a5, 614), (0x98165af37b2153df, 641), (0xe2a0b5dc971f303a, 667),
    (0xa8d9d1535ce3b396, 694), (0xfb9b7cd9a4a7443c, 720), (0xbb764c4ca7a44410, 747),
    (0x8bab8eefb6409c1a, 774), (0xd01fef10a657842c, 800), (0x9b10a4e5e9913129, 827),
    (0xe7109bfba19c0c9d, 853), (0xac2820d9623bf429, 880), (0x80444b5e7aa7cf85, 907),
    (0xbf21e44003acdd2d, 933), (0x8e679c2f5e44ff8f, 960), (0xd433179d9c8cb841, 986),
    (0x9e19db92b4e31ba9, 1013), (0xeb96bf6ebadf77d9, 1039), (0xaf87023b9bf0ee6b, 1066),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the digits, they read back as the same double: that much Grisu2 promises.
        #[test]
        fn digits_read_back(bits in 1u64..0x7ff0_0000_0000_0000) {
            let value = f64::from_bits(bits);
            let digits = digits(value);
            let text = std::str::from_utf8(&digits.text[..digits.len]).unwrap();
            prop_assert!(digits.len <= 17);
            prop_assert_eq!(format!("{text}e{}", digits.exp10).parse::<f64>().unwrap(), value);
        }
    }
}
