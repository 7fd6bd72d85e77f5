"""Encodings: what is declared or certain is read in silence, what is guessed or lost is told."""

import pytest

from dream.documents.text_encoding import SAMPLE_BYTES, decode

TEXTS = {
    "ru": "Насосная станция была построена в 1987 году. Она подаёт сорок два литра в секунду.",
    "zh": "泵站建于一九八七年，每秒输送四十二升水。主轴每六个月检查一次。",
    "zh-tw": "泵站建於一九八七年，每秒輸送四十二升水。主軸每六個月檢查一次。",
    "ja": "ポンプ場は1987年に建設された。毎秒四十二リットルの水を送る。",
    "ko": "펌프장은 1987년에 건설되었다. 초당 사십이 리터의 물을 보낸다.",
    "fr": "L’été dernier, la pompe a été réparée à Besançon – coût : 5 €.",
    "de": "Die Überprüfung der Förderhöhe ist größtenteils abgeschlossen.",
    "pl": "Zażółć gęślą jaźń, pompa została zbudowana w Łodzi.",
    "el": "Η αντλία κατασκευάστηκε το 1987 και δίνει νερό.",
    "tr": "Pompa istasyonu 1987 yılında inşa edildi, şöyle ığüç.",
}


@pytest.mark.parametrize(
    ("language", "encoding", "name"),
    [
        ("ru", "cp1251", "Windows-1251"),
        ("ru", "koi8_r", "KOI8-R"),
        ("zh", "gbk", "GB18030 (GBK)"),
        ("zh-tw", "big5", "Big5"),
        ("ja", "shift_jis", "Shift-JIS"),
        ("ja", "euc_jp", "EUC-JP"),
        ("ja", "iso2022_jp", "ISO-2022-JP"),
        ("ko", "euc_kr", "EUC-KR"),
        ("fr", "cp1252", "Windows-1252"),
        ("de", "cp1252", "Windows-1252"),
        ("pl", "cp1250", "Windows-1250"),
        ("el", "cp1253", "Windows-1253"),
        ("tr", "cp1254", "Windows-1254"),
    ],
)
@pytest.mark.parametrize("lines", [1, 30])
def test_a_guess_is_right_and_told(language, encoding, name, lines):
    text = f"{TEXTS[language]}\n" * lines
    decoded = decode(text.encode(encoding))
    assert decoded.text == text
    assert decoded.problem == f"it is not UTF-8; its encoding was guessed, and read as {name}"
    assert not decoded.is_certain and decoded.remedy


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("language", ["de", "fr", "ru"])
def test_unicode_needs_no_guess(language, encoding):
    decoded = decode(TEXTS[language].encode(encoding))
    assert (decoded.text.removeprefix("\ufeff"), decoded.problem) == (TEXTS[language], "")


@pytest.mark.parametrize(
    ("text", "encoding", "label"),
    [
        ("It’s “quoted” – 5 €", "cp1252", "iso-8859-1"),
        ("It’s “quoted” – 5 €", "cp1252", "latin1"),
        ("It’s “quoted” – 5 €", "cp1252", " 'US-ASCII' "),
        (TEXTS["de"], "utf-8", "iso-8859-1"),
        (TEXTS["zh"], "gb18030", "gb2312"),
        (TEXTS["ja"], "cp932", "x-sjis"),
        (TEXTS["ja"], "iso2022_jp", "iso-2022-jp"),
        (TEXTS["ko"], "cp949", "ks_c_5601-1987"),
        (TEXTS["pl"], "iso8859_2", "iso-8859-2"),
        (TEXTS["de"], "utf-8", "utf-16"),
        (TEXTS["de"], "utf-8", "no-such"),
    ],
)
def test_a_label_means_what_it_means_to_browsers(text, encoding, label):
    decoded = decode(text.encode(encoding), label)
    assert (decoded.text, decoded.problem, decoded.is_certain) == (text, "", True)


@pytest.mark.parametrize("bad", [b"\xff", b"\xe4", b"\xc3"])
def test_a_bad_byte_costs_one_character(bad):
    text = TEXTS["de"] * 5
    content = text.encode()
    decoded = decode(content[:101] + bad + content[101:])
    assert decoded.text.replace("\ufffd", "") == text
    assert decoded.text.count("\ufffd") == 1
    assert decoded.problem == "1 broken character(s) became U+FFFD in its encoding UTF-8"
    assert not decoded.is_certain


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Zapora na rzece Łynie ma wysokość łąki i ściany.\n" * 3, "cp1250"),  # hardly a letter as in Windows-1252
        ("Le coût est déjà payé à l'été.", "cp1252"),
        ("Le coût est déjà payé à l'été, là où il est dû.\n" * 30, "cp1252"),
        ("It costs £5 at 20 °C, £7 at 30 °C, or £9 for 10 m³.\n" * 10, "cp1252"),
        ("Příliš žluťoučký kůň úpěl ďábelské ódy.\n" * 3, "cp1250"),
    ],
)
def test_eastern_and_western_letters_are_told_apart(text, encoding):
    assert decode(text.encode(encoding)).text == text


def test_letters_as_pairs_of_surrogates_are_read():
    pairs = b"The lamp \xed\xa0\xbd\xed\xb2\xa1 is lit."
    assert (decode(pairs).text, decode(pairs).problem) == ("The lamp 💡 is lit.", "")
    assert decode(pairs.replace(b"\xed\xb2\xa1", b"")).text == "The lamp � is lit."


@pytest.mark.parametrize("text", ["How\x00 high?,", "The weir\x00 is closed in May and in June.\n" * 3])
def test_a_zero_in_ascii_does_not_make_it_utf_16(text):
    assert decode(text.encode()).text == text


def test_a_bad_byte_beside_few_letters_costs_one_character():
    assert decode("Die Größe".encode() + b"\xff ist gleich.").text == "Die Größe\ufffd ist gleich."


def test_a_bad_byte_in_a_declared_encoding_costs_one_character():
    decoded = decode(TEXTS["pl"].encode("cp1250") + b"\x81.", "windows-1250")
    assert decoded.text == f"{TEXTS['pl']}\ufffd."
    assert decoded.problem == "1 broken character(s) became U+FFFD in its encoding Windows-1250"


def test_too_little_to_guess_from_is_what_most_files_are():
    assert decode(b"caf\xe9").text == "café"


def test_the_letters_that_tell_the_encoding_may_come_late():
    text = "plain words\n" * (SAMPLE_BYTES // 6) + TEXTS["ru"]
    assert decode(text.encode("cp1251")).text == text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Насосна станція була збудована у 1987 році, її їжа та ґрунт перевіряються щомісяця, є вода.", "koi8-u"),
        ("بنيت محطة الضخ عام 1987 وتأخذ مياهها من النهر عند السد القديم.", "iso8859-6"),
        ("สถานีสูบน้ำสร้างขึ้นในปี 2530 และนำน้ำจากแม่น้ำที่ฝายเก่า ทุกหกเดือนทีมงาน", "cp874"),
        ("Pompa istasyonu 1987 yılında inşa edildi ve suyunu eski bendin yanındaki ırmaktan alır.", "iso8859-9"),
        ("Stacja pobiera wodę z rzeki. Załoga sprawdza główny wirnik, łożyska i śruby, źle żółć.", "iso8859-2"),
        ("Čerpací stanice odebírá vodu u starého jezu. Příliš žluťoučký kůň úpěl ďábelské ódy.", "iso8859-2"),
        ("Čerpací stanice odebírá vodu u starého jezu. Příliš žluťoučký kůň úpěl ďábelské ódy.", "cp852"),
        ("Siurblinė pastatyta 1987 metais ir ima vandenį iš upės prie senosios užtvankos; žąsis ėjo čia.", "cp1257"),
        ("Dælustöðin var byggð árið 1987 og tekur vatn sitt úr ánni. Þetta er það.", "cp1252"),
        ("De coördinator reëel geïnd; één café.", "cp1252"),
        ("Temp 20 °C ± 5 µm, § 3, ½ cup, 30 € – © 2020 ®", "cp1252"),
        ("La station a été bâtie en 1987 ; l’été, elle puise son eau à la rivière. Coût – œuvre d’hiver.", "mac_roman"),
        ("Насосная станция была построена в 1987 году и берёт воду из реки у старой плотины.", "mac_cyrillic"),
        ("佢哋嘅水泵站係1987年起嘅，啲水喺河度嚟。", "big5hkscs"),
        ("펌프장은 1987년에 지어졌으며 오래된 둑의 강에서 물을 끌어옵니다.", "iso2022_kr"),
    ],
)
def test_encodings_that_are_seldom(text, encoding):
    assert decode(text.encode(encoding)).text == text


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("language", ["zh", "zh-tw", "ja", "ko"])
def test_utf_16_with_hardly_a_letter_of_ascii(language, encoding):
    text = f"{TEXTS[language]}一\n" * 5
    assert decode(text.encode(encoding)).text == text


def test_marks_where_files_were_joined_are_no_text():
    assert decode("\ufeffFirst.\n\ufeffSecond.\n".encode()).text == "First.\nSecond.\n"


def test_line_ends_of_old_programs():
    assert decode(b"First.\rSecond.\r").text == "First.\nSecond.\n"
    assert decode(b"First.\r\nSecond.\r\n").text == "First.\r\nSecond.\r\n"
