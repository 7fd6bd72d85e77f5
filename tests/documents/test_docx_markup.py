"""What mammoth leaves out of Word documents is read all the same."""

import io

from docx import Document
from sample_files import docx_of, lines_of, text_of, with_parts

CHART = "http://schemas.openxmlformats.org/drawingml/2006/chart"
MAIN = "http://schemas.openxmlformats.org/drawingml/2006/main"
RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"

SMART_ART = f"""<dgm:dataModel xmlns:dgm="http://schemas.openxmlformats.org/drawingml/2006/diagram" xmlns:a="{MAIN}">
<dgm:ptLst><dgm:pt><dgm:t><a:p><a:r><a:t>Plan</a:t></a:r></a:p></dgm:t></dgm:pt><dgm:pt><dgm:t><a:p><a:r><a:t>Do</a:t>
</a:r></a:p></dgm:t></dgm:pt></dgm:ptLst></dgm:dataModel>"""


def drawing(inside: str) -> str:
    return (
        f'<w:r><w:drawing><wp:inline xmlns:wp="urn:wp" xmlns:a="{MAIN}" xmlns:r="{RELATION}"><a:graphic>'
        f"<a:graphicData>{inside}</a:graphicData></a:graphic></wp:inline></w:drawing></w:r>"
    )


def test_charts_and_smart_art_of_documents():
    chart = f'<c:chart xmlns:c="{CHART}" r:id="rId1"/>'
    diagram = '<dgm:relIds xmlns:dgm="http://schemas.openxmlformats.org/drawingml/2006/diagram" r:dm="rId2"/>'
    runs = "<w:r><w:t>{}</w:t></w:r>"
    body = (
        f"<w:p>{runs.format('See:')}{drawing(chart)}</w:p><w:p>{drawing(diagram)}</w:p><w:p>{runs.format('End')}</w:p>"
    )
    relations = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="rId1" Type="{RELATION}/chart" Target="charts/chart1.xml"/>'
        f'<Relationship Id="rId2" Type="{RELATION}/diagramData" Target="diagrams/data1.xml"/></Relationships>'
    )
    series = (
        "<c:ser><c:tx><c:v>Flow</c:v></c:tx><c:cat><c:strLit><c:pt idx='0'><c:v>May</c:v></c:pt></c:strLit></c:cat>"
        "<c:val><c:numLit><c:pt idx='0'><c:v>4.5</c:v></c:pt></c:numLit></c:val></c:ser>"
    )
    parts = {
        "word/_rels/document.xml.rels": relations,
        "word/charts/chart1.xml": f'<c:chartSpace xmlns:c="{CHART}"><c:chart>{series}</c:chart></c:chartSpace>',
        "word/diagrams/data1.xml": SMART_ART,
    }
    assert text_of("a.docx", with_parts(docx_of(body), parts)) == "See:\n\n| May\nFlow | 4.5\n\n- Plan\n- Do\n\nEnd"


def test_text_that_mammoth_leaves_out():
    run = "<w:r><w:t xml:space='preserve'>{}</w:t></w:r>".format
    field = f"<w:p>{run('Table ')}<w:fldSimple w:instr='SEQ Table'>{run('7')}</w:fldSimple>{run(': flows')}</w:p>"
    other = f"<w:p><w:bdo w:val='rtl'>{run('שלום')}</w:bdo><w:dir w:val='rtl'>{run(' עולם')}</w:dir></w:p>"
    ruby = f"<w:ruby><w:rt>{run('とうきょう')}</w:rt><w:rubyBase>{run('東京')}</w:rubyBase></w:ruby>"
    ruby = f"<w:p><w:r>{ruby}</w:r>{run('都')}</w:p>"
    inside = f"<w:txbxContent><w:p>{run('In the box')}</w:p></w:txbxContent>"
    box = f"<w:p>{run('Before')}{drawing(inside)}</w:p>"
    assert text_of("a.docx", docx_of(field + other + ruby + box)) == (
        "Table 7: flows\n\nשלום עולם\n\n東京都\n\nBefore\n\nIn the box"
    )


def test_breaks_and_shapes_that_mammoth_leaves_out():
    run = "<w:p><w:r><w:t>First</w:t><w:cr/><w:t>second</w:t><w:ptab/><w:t>third</w:t></w:r></w:p>"
    box = "<w:txbxContent><w:p><w:r><w:t>In an oval</w:t></w:r></w:p></w:txbxContent>"
    oval = f"<v:oval xmlns:v='urn:schemas-microsoft-com:vml'><v:textbox>{box}</v:textbox></v:oval>"
    text = text_of("a.docx", docx_of(f"{run}<w:p><w:r><w:pict>{oval}</w:pict></w:r></w:p>"))
    assert text.split() == "First second third In an oval".split()


def test_files_that_word_inserts_are_told():
    body = f'<w:p><w:r><w:t>Text</w:t></w:r></w:p><w:altChunk xmlns:r="{RELATION}" r:id="rId1"/>'
    assert "1 file(s) that Word inserts" in lines_of({"a.docx": docx_of(body)})["a.docx"]


def test_headers_of_first_and_even_pages():
    document, target = Document(), io.BytesIO()
    document.add_paragraph("Text")
    document.settings.odd_and_even_pages_header_footer = True
    section = document.sections[0]
    section.different_first_page_header_footer = True
    section.first_page_header.paragraphs[0].text = "Only on the first"
    section.even_page_footer.paragraphs[0].text = "On even pages"
    section.header.paragraphs[0].text = "On odd pages"
    document.save(target)
    text = text_of("a.docx", target.getvalue())
    assert all(line in text for line in ("Only on the first", "On even pages", "On odd pages", "Text"))
