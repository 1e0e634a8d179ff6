"""Korean personal names in Latin letters, Chinese characters and Hangul, which belong to no real person."""

from dataclasses import dataclass

import numpy as np

# (Latin, Hanja, Hangul)
FAMILY = (
    ("Kim", "金", "김"), ("Lee", "李", "이"), ("Park", "朴", "박"), ("Choi", "崔", "최"), ("Jeong", "鄭", "정"),
    ("Kang", "姜", "강"), ("Cho", "趙", "조"), ("Yoon", "尹", "윤"), ("Jang", "張", "장"), ("Lim", "林", "임"),
)  # fmt: skip
GIVEN = {
    "M": (
        ("Gildong", "吉東", "길동"), ("Minsu", "民秀", "민수"), ("Jihun", "志勳", "지훈"),
        ("Sangho", "相浩", "상호"),
        ("Dongwon", "東元", "동원"), ("Yeongsu", "永秀", "영수"), ("Gwangsu", "光洙", "광수"),
        ("Seongjin", "成珍", "성진"),
    ),
    "F": (
        ("Yeonghui", "英姬", "영희"), ("Jiyeon", "知延", "지연"), ("Sujin", "秀珍", "수진"),
        ("Mija", "美子", "미자"),
        ("Eunju", "銀珠", "은주"), ("Hyejin", "惠珍", "혜진"), ("Sunja", "順子", "순자"),
        ("Minji", "敏智", "민지"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class KoreanName:
    """A name as DICOM's PN value representation writes it, family name first."""

    latin: str
    hanja: str
    hangul: str

    @property
    def in_three_scripts(self) -> str:
        """Return the name as a DICOM person name: Latin, Hanja and Hangul."""
        return f"{self.latin}={self.hanja}={self.hangul}"


def choose_korean_name(seed: int, sex: str) -> KoreanName:
    """Choose a name for a patient; many patients share a name, as in reality."""
    rng = np.random.default_rng([seed, 2])
    given = GIVEN["M" if sex == "M" else "F"]
    pairs = zip(FAMILY[rng.integers(len(FAMILY))], given[rng.integers(len(given))], strict=True)
    latin, hanja, hangul = (f"{family}^{name}" for family, name in pairs)
    return KoreanName(latin, hanja, hangul)
