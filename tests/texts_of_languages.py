"""Long texts in many languages and shapes, for what must be fair to each of them."""


def _prose(*sentences: str, separator: str = " ") -> str:
    """Some 3,000 tokens: the sentences again and again, each time with another number."""
    return separator.join(sentence.format(number) for number in range(1, 31) for sentence in sentences)


TEXTS = {
    "English": _prose(
        "The pump house at lock {} was built of brick.",
        "Its two engines lift water from the canal into the upper pond, which feeds the mill.",
        "Dr. Hale measured approx. 3.5 m of water in May.",
        "Who pays for the coal?",
    ),
    "German": _prose(
        "Die Schleuse Nr. {} liegt z. B. im Winter still.",
        "Das Wasser fließt über das Wehr, bis der Pegel fällt.",
        "Wer öffnet dann das Tor?",
    ),
    "Russian": _prose(
        "Мост номер {} открывают в пять часов утра.",
        "Лёд на реке держится до апреля, и лодки стоят у берега.",
        "Кто чинит фонари?",
    ),
    "Japanese": _prose(
        "第{}灯台は岬の先に立っています。",
        "霧の濃い夜には、鐘を三分ごとに鳴らします。",
        "「油は足りていますか？」と見習いが尋ねました。",
        "風が強い日は船が港に戻ってきます！",
        separator="",
    ),
    "Chinese": _prose(
        "第{}号水库位于山谷的北面。",
        "每年春天，雪水流入水库，水位上升两米左右。",
        "守坝人每天早晚各记录一次水位。",
        "谁来清理闸门？",
        separator="",
    ),
    "Hindi": _prose(
        "कुआँ संख्या {} गाँव के बीच में है।",
        "गर्मी में पानी का स्तर तीन मीटर नीचे चला जाता है।",
        "रस्सी कौन बदलता है?",
    ),
    "Thai": _prose(
        "ประภาคารหมายเลข {} ตั้งอยู่บนเกาะเล็กๆทางใต้ของอ่าว",
        "ผู้ดูแลจุดตะเกียงทุกเย็นก่อนพระอาทิตย์ตกดินและบันทึกทิศทางลมไว้ในสมุด",
    ),
    "Thai without spaces": "ชาวประมงออกเรือตอนเช้ามืดและกลับมาเมื่อน้ำขึ้นพร้อมปลาเต็มลำ" * 40,
    "Arabic": _prose(
        "تقع البئر رقم {} شرق القرية.",
        "يرتفع منسوب المياه في الشتاء، ثم ينخفض في الصيف.",
        "من يصلح الحبل؟",
    ),
    "Persian": _prose(
        "پل شمارهٔ {} از سنگ ساخته شده است.",
        "در بهار آب رودخانه بالا می‌آید، و قایق‌ها در ساحل می‌مانند.",
        "چه کسی چراغ‌ها را روشن می‌کند؟",
    ),
    "Urdu": _prose(
        "کنواں نمبر {} گاؤں کے درمیان میں ہے۔",
        "گرمیوں میں پانی کی سطح نیچے چلی جاتی ہے۔",
        "رسی کون بدلتا ہے؟",
    ),
    "Korean": _prose(
        "제{} 등대는 곶 끝에 서 있습니다.",
        "안개가 짙은 밤에는 종을 삼 분마다 울립니다.",
        "기름은 누가 나릅니까?",
    ),
    "Armenian": _prose("Թիվ {} ջրհորը գյուղի մեջտեղում է։", "Ամռանը ջրի մակարդակը իջնում է երեք մետր։"),
    "Amharic": _prose("ጉድጓድ ቁጥር {} በመንደሩ መካከል ነው።", "በበጋ ወቅት የውሃው መጠን ይቀንሳል።"),
    "list": "\n".join(f"- rope no. {number}, hemp, {number * 3} m, in the loft" for number in range(200)),
    "table": "station | May | June\n" + "\n".join(f"{n:04d} | {n * 1.5:.1f} | {n * 2.25:.2f}" for n in range(250)),
    "code": "\n".join(f"def lamp_{n}(oil):\n    return oil * {n} if oil > {n} else None\n" for n in range(120)),
    "capitals": " ".join(f"KEEP GATE {number} SHUT WHEN THE BELL OF THE MILL RINGS" for number in range(250)),
    "scanned": " ".join(f"tbe rniller ,vent to thc lock {number} aud op ened lt" for number in range(250)),
    "one word": "0123456789abcdef" * 800,
    "leader dots": "\n".join(f"{n}.{n % 7} Sluices and weirs {'.' * 60} {n}" for n in range(150)),
    "emoji": "👩‍🌾🌧️👨‍👩‍👧‍👦" * 200,
    "accents": "a" + "\u0301" * 3000,
}
