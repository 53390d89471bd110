"""axe-core, which examines a page for what the WCAG (levels A and AA) and its own best practices ask."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Locator, expect

AXE = Path(__file__).parents[2] / "js" / "node_modules" / "axe-core" / "axe.min.js"
# One line for each element at fault: the rule, what to do, and the element.
VIOLATIONS = """async (root) => {
  const fading = root.getAnimations({ subtree: true }).filter((each) => each instanceof CSSTransition);
  await Promise.allSettled(fading.map((each) => each.finished)); // colours are those of the theme by then
  const { violations } = await axe.run(root, { resultTypes: ["violations"] });
  return violations.flatMap(({ id, nodes }) => nodes.map((n) => `${id}: ${n.failureSummary}\\n  ${n.html}`));
}"""


def violations(root: Locator) -> list[str]:
    """What is wrong with the element and all in it; hidden parts are not examined. Compare with []."""
    if not AXE.exists():
        raise RuntimeError(f"{AXE} is missing: run `npm ci` in js/")
    page = root.page
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE.read_text())  # also where the page forbids scripts of others
    found: list[str] = root.evaluate(VIOLATIONS)
    return found


def violations_in_both_themes(root: Locator) -> list[str]:
    """Of a panel in a page that states its theme as our test pages do, `<body data-theme="dark">`."""
    found = []
    for theme, back in (("light", "#fff"), ("dark", "#111")):
        root.page.evaluate(
            "([theme, back]) => { document.body.dataset.theme = theme; document.body.style.background = back; }",
            [theme, back],
        )
        expect(root).to_have_attribute("data-theme", theme)
        found += [f"{theme}: {each}" for each in violations(root)]
    return found
