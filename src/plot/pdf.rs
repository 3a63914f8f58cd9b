//! A figure as a PDF page: the paths of the drawing, text as outlines. Knows only what our figures hold: paths with one colour each,
//! filled or drawn, and text.

use flate2::write::ZlibEncoder;
use pdf_writer::types::{LineCapStyle, LineJoinStyle};
use pdf_writer::{Content, Filter, Finish, Name, Pdf, Rect, Ref};
use resvg::usvg::tiny_skia_path::PathSegment;
use resvg::usvg::{Group, LineCap, LineJoin, Node, Paint, Path, Tree};
use std::io::Write;

/// Points to a unit of a drawing, which is a pixel of 1/96 inch.
const POINTS: f32 = 0.75;

/// The page.
pub(super) fn pdf(tree: &Tree) -> Vec<u8> {
    let (catalog, pages, page, drawing) = (Ref::new(1), Ref::new(2), Ref::new(3), Ref::new(4));
    let (width, height) = (tree.size().width() * POINTS, tree.size().height() * POINTS);
    let mut content = Content::new();
    content.transform([POINTS, 0.0, 0.0, -POINTS, 0.0, height]);
    let mut opacities = vec![];
    group(tree.root(), &mut content, &mut opacities);
    let mut packed = ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(&content.finish()).expect("writing to memory");
    let packed = packed.finish().expect("writing to memory");

    let mut pdf = Pdf::new();
    pdf.catalog(catalog).pages(pages);
    pdf.pages(pages).kids([page]).count(1);
    let mut sheet = pdf.page(page);
    sheet.media_box(Rect::new(0.0, 0.0, width, height)).parent(pages).contents(drawing);
    let mut resources = sheet.resources();
    let mut states = resources.ext_g_states();
    for (k, opacity) in opacities.iter().enumerate() {
        let name = state(k);
        states
            .insert(Name(name.as_bytes()))
            .start::<pdf_writer::writers::ExtGraphicsState>()
            .non_stroking_alpha(*opacity)
            .stroking_alpha(*opacity);
    }
    states.finish();
    resources.finish();
    sheet.finish();
    pdf.stream(drawing, &packed).filter(Filter::FlateDecode);
    pdf.finish()
}

fn state(k: usize) -> String {
    format!("O{k}")
}

fn group(group: &Group, content: &mut Content, opacities: &mut Vec<f32>) {
    for node in group.children() {
        match node {
            Node::Group(inner) => self::group(inner, content, opacities),
            Node::Text(text) => self::group(text.flattened(), content, opacities),
            Node::Path(one) => path(one, content, opacities),
            Node::Image(_) => {}
        }
    }
}

fn path(path: &Path, content: &mut Content, opacities: &mut Vec<f32>) {
    if !path.is_visible() {
        return;
    }
    content.save_state();
    let t = path.abs_transform();
    content.transform([t.sx, t.ky, t.kx, t.sy, t.tx, t.ty]);
    let colour = |paint: &Paint| match paint {
        Paint::Color(c) => Some([c.red, c.green, c.blue].map(|x| f32::from(x) / 255.0)),
        _ => None,
    };
    if let Some((fill, [r, g, b])) = path.fill().and_then(|fill| Some((fill, colour(fill.paint())?))) {
        alpha(fill.opacity().get(), content, opacities);
        content.set_fill_rgb(r, g, b);
        outline(path, content);
        content.fill_nonzero();
    }
    if let Some((stroke, [r, g, b])) = path.stroke().and_then(|stroke| Some((stroke, colour(stroke.paint())?))) {
        alpha(stroke.opacity().get(), content, opacities);
        content.set_stroke_rgb(r, g, b).set_line_width(stroke.width().get());
        content.set_line_cap(match stroke.linecap() {
            LineCap::Butt => LineCapStyle::ButtCap,
            LineCap::Round => LineCapStyle::RoundCap,
            LineCap::Square => LineCapStyle::ProjectingSquareCap,
        });
        content.set_line_join(match stroke.linejoin() {
            LineJoin::Round => LineJoinStyle::RoundJoin,
            LineJoin::Bevel => LineJoinStyle::BevelJoin,
            LineJoin::Miter | LineJoin::MiterClip => LineJoinStyle::MiterJoin,
        });
        outline(path, content);
        content.stroke();
    }
    content.restore_state();
}

/// The opacity of what is drawn next.
fn alpha(opacity: f32, content: &mut Content, opacities: &mut Vec<f32>) {
    let at = opacities.iter().position(|o| *o == opacity).unwrap_or_else(|| {
        opacities.push(opacity);
        opacities.len() - 1
    });
    content.set_parameters(Name(state(at).as_bytes()));
}

fn outline(path: &Path, content: &mut Content) {
    let mut last = (0.0, 0.0);
    for segment in path.data().segments() {
        match segment {
            PathSegment::MoveTo(p) => {
                content.move_to(p.x, p.y);
                last = (p.x, p.y);
            }
            PathSegment::LineTo(p) => {
                content.line_to(p.x, p.y);
                last = (p.x, p.y);
            }
            // A parabola as a cubic curve.
            PathSegment::QuadTo(c, p) => {
                let near = |from: f32, control: f32| from + 2.0 / 3.0 * (control - from);
                content.cubic_to(near(last.0, c.x), near(last.1, c.y), near(p.x, c.x), near(p.y, c.y), p.x, p.y);
                last = (p.x, p.y);
            }
            PathSegment::CubicTo(a, b, p) => {
                content.cubic_to(a.x, a.y, b.x, b.y, p.x, p.y);
                last = (p.x, p.y);
            }
            PathSegment::Close => {
                content.close_path();
            }
        }
    }
}
