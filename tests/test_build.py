"""BUILD names the sources that are there: no more, no fewer."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
RUNNER = "tests/run_pytest.py"


def evaluate(node):
    """Value of a literal in a BUILD file; `glob` counts as no sources, since it follows the tree by itself."""
    if isinstance(node, ast.List):
        return [evaluate(item) for item in node.elts]
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "glob":
        return []
    raise ValueError(f"BUILD line {node.lineno}: only calls with literal arguments are understood")


def read_rules(text):
    """The py_* rules of a BUILD file, in order: [(kind, {attribute: value})]."""
    rules = []
    for statement in ast.parse(text).body:
        call = getattr(statement, "value", None)
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise ValueError(f"BUILD line {statement.lineno}: only calls with literal arguments are understood")
        if call.func.id.startswith("py_"):
            rules.append((call.func.id, {keyword.arg: evaluate(keyword.value) for keyword in call.keywords}))
    return rules


def python_files(folder):
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.py")}


def is_test(path):
    return pathlib.PurePath(path).name.startswith("test_")


def is_entry_module(path):
    return '\nif __name__ == "__main__":' in (ROOT / path).read_text(encoding="utf-8")


def expected_test_rule(path):
    return {
        "name": path.removesuffix(".py"),
        "srcs": sorted([path, RUNNER]),
        "args": [path],
        "main": RUNNER,
        "deps": [":testing"],
    }


def rendered(kind, attributes):
    """A rule as it stands in BUILD, its lists on one line each."""
    lines = [f"    {name} = {str(value).replace(chr(39), chr(34))}," for name, value in attributes.items()]
    return "\n".join([f"{kind}(", *lines, ")"])


def differences(named, present, target):
    """Lines that say what to change in the sources of a rule."""
    return [f'{target}: add     "{path}",' for path in sorted(present - set(named))] + [
        f'{target}: remove  "{path}",' for path in sorted(set(named) - present)
    ]


@pytest.fixture(scope="module")
def rules():
    return read_rules((ROOT / "BUILD").read_text(encoding="utf-8"))


def sources_of(rules, name):
    return next(attributes["srcs"] for _, attributes in rules if attributes["name"] == name)


def report(lines):
    assert not lines, "BUILD differs from the tree. Change it so:\n" + "\n".join(lines)


@pytest.mark.parametrize("package", ["vim_tf", "pipelines"])
def test_libraries_name_every_module(rules, package):
    report(differences(sources_of(rules, package), python_files(package), f'py_library "{package}"'))


def test_testing_library_names_every_helper_of_the_tests(rules):
    helpers = {path for path in python_files("tests") if not is_test(path)}
    report(differences(sources_of(rules, "testing"), helpers, 'py_library "testing"'))


def test_every_entry_module_is_a_binary(rules):
    binaries = {attributes["main"] for kind, attributes in rules if kind == "py_binary"}
    entries = {path for package in ("vim_tf", "pipelines") for path in python_files(package) if is_entry_module(path)}
    lines = [
        rendered(
            "py_binary",
            {"name": pathlib.PurePath(path).stem, "srcs": [path], "main": path, "deps": [f":{path.split('/')[0]}"]},
        )
        for path in sorted(entries - binaries)
    ]
    report(lines + [f"remove the py_binary of {path}" for path in sorted(binaries - entries)])


def test_every_test_file_is_a_test(rules):
    by_name = {attributes["name"]: attributes for kind, attributes in rules if kind == "py_test"}
    expected = {path.removesuffix(".py"): expected_test_rule(path) for path in python_files("tests") if is_test(path)}
    lines = []
    for name, attributes in sorted(expected.items()):
        found = by_name.get(name, {})
        if not found:
            lines.append("add\n" + rendered("py_test", attributes))
        elif any(found.get(key) != value for key, value in attributes.items()):
            lines.append(f"change py_test {name} to hold\n" + rendered("py_test", attributes))
    report(lines + [f'remove py_test "{name}"' for name in sorted(set(by_name) - set(expected))])


def test_every_target_is_named_once_and_every_dependency_exists(rules):
    names = [attributes["name"] for _, attributes in rules]
    assert len(names) == len(set(names))
    wanted = {dependency for _, attributes in rules for dependency in attributes.get("deps", [])}
    assert wanted <= {f":{name}" for name in names}


def test_a_missing_and_an_extra_source_are_told_by_the_line_to_change():
    assert differences(["a.py", "b.py"], {"b.py", "c.py"}, "x") == ['x: add     "c.py",', 'x: remove  "a.py",']


def test_anything_but_literals_in_build_is_refused_with_its_line():
    with pytest.raises(ValueError, match="line 2"):
        read_rules('py_library(name = "a")\npy_library(name = "b", srcs = SOURCES)')
