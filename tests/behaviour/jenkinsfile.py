"""Reads a declarative Jenkinsfile, and finds what is wrong with it.

Jenkins itself has the only complete reader. This one knows Groovy's strings, comments
and blocks, and the sections of declarative pipelines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field


TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)
    |(?P<string>'''.*?'''|\"\"\".*?\"\"\"
        |'(?!'')(?:[^'\\\n]|\\.)*'|"(?!"")(?:[^"\\\n]|\\.)*")
    |(?P<other>.)""",
    re.DOTALL | re.VERBOSE,
)
CLOSING = {"{": "}", "(": ")", "[": "]"}
SECTIONS = {
    "pipeline": "agent environment options parameters post stages tools triggers",
    "stages": "stage",
    "stage": "agent environment input options post stages steps tools when",
    "post": "always changed cleanup failure fixed success unstable unsuccessful",
}


@dataclass
class Node:
    """A step such as ``checkout scm``, or a block such as ``stage('Gate') { … }``."""

    text: str
    line: int
    parents: tuple[Node, ...] = ()
    children: list[Node] = field(default_factory=list)
    is_block: bool = False

    @property
    def name(self) -> str:
        return re.match(r"\w*", self.text)[0]

    @property
    def argument(self) -> str | None:
        """The first string that it is given."""
        found = TOKEN.finditer(self.text)
        strings = (token["string"] for token in found if token["string"])
        quoted = next(strings, None)
        if quoted is None:
            return None
        return quoted[3:-3] if quoted[:3] in ("'''", '"""') else quoted[1:-1]

    @property
    def stages(self) -> list[Node]:
        """The stages that it is in, the innermost last."""
        return [node for node in (*self.parents, self) if node.name == "stage"]

    def walk(self) -> Iterator[Node]:
        yield self
        for child in self.children:
            yield from child.walk()

    def all(self, name: str) -> list[Node]:
        return [node for node in self.walk() if node.name == name]

    def get(self, name: str) -> Node | None:
        return next((node for node in self.children if node.name == name), None)


def parse(source: str) -> Node:
    """Return the file as a node; ValueError where a bracket or string is not closed."""
    root = Node("", 1, is_block=True)
    reader = _Reader(root)
    for token in TOKEN.finditer(source):
        reader.read(token)
    reader.end()
    if reader.open:
        bracket, line = reader.open[-1]
        raise ValueError(f"line {line}: {bracket} is not closed")
    return root


class _Reader:
    def __init__(self, root: Node) -> None:
        self.blocks, self.open, self.text, self.line = [root], [], "", 1

    def read(self, token: re.Match[str]) -> None:
        text = token[0]
        if token["string"]:
            self.text += text
        elif text in CLOSING:
            self._enter(text)
        elif text in CLOSING.values():
            self._leave(text)
        elif text in "'\"":
            raise ValueError(f"line {self.line}: a string is not closed")
        elif text in "\n;" and not self._goes_on:
            self.end()
        elif not token["comment"]:
            self.text += text
        self.line += text.count("\n")

    @property
    def _goes_on(self) -> bool:
        inside = bool(self.open) and self.open[-1][0] != "{"
        return inside or self.text.rstrip().endswith(",")

    def end(self) -> None:
        if self.text.strip():
            self._add(Node(self.text.strip(), self.line, tuple(self.blocks)))
        self.text = ""

    def _enter(self, bracket: str) -> None:
        if bracket == "{":
            block = Node(self.text.strip(), self.line, tuple(self.blocks), [], True)
            self._add(block)
            self.blocks.append(block)
            self.text = ""
        else:
            self.text += bracket
        self.open.append((bracket, self.line))

    def _leave(self, bracket: str) -> None:
        opened = self.open.pop()[0] if self.open else None
        if opened is None or CLOSING[opened] != bracket:
            raise ValueError(f"line {self.line}: {bracket} closes nothing")
        if bracket == "}":
            self.end()
            self.blocks.pop()
        else:
            self.text += bracket

    def _add(self, node: Node) -> None:
        self.blocks[-1].children.append(node)


def problems(source: str) -> list[str]:
    """Return what is wrong with a Jenkinsfile, by line."""
    try:
        root = parse(source)
    except ValueError as error:
        return [str(error)]
    if [node.name for node in root.children] != ["pipeline"]:
        return ["line 1: there is to be one pipeline and nothing beside it"]
    (pipeline,) = root.children
    checks = (_sections, _stages, _shell, _rights, _bounds, _results)
    return [problem for check in checks for problem in check(pipeline)]


def _sections(pipeline: Node) -> Iterator[str]:
    for node in pipeline.walk():
        for child in node.children:
            allowed = SECTIONS.get(node.name, "").split()
            if allowed and child.name not in allowed:
                yield f"line {child.line}: {child.name} is no section of {node.name}"
    for name in ("agent", "stages"):
        if pipeline.get(name) is None:
            yield f"line {pipeline.line}: the pipeline has no {name}"


def _stages(pipeline: Node) -> Iterator[str]:
    for stage in pipeline.all("stage"):
        if bool(stage.get("steps")) == bool(stage.get("stages")):
            yield f"line {stage.line}: a stage has either steps or stages"
        around = [one.get("agent") for one in (pipeline, *stage.stages)]
        agents = [agent.text for agent in around if agent is not None]
        if stage.get("steps") and "agent none" in agents[-1:]:
            yield f"line {stage.line}: the stage has no agent"


def _shell(pipeline: Node) -> Iterator[str]:
    for step in pipeline.all("sh"):
        if not re.match(r"sh '", step.text):
            yield f"line {step.line}: Groovy would put values into the script of sh"
        if "\\" in step.text:
            yield f"line {step.line}: Groovy takes the backslashes out of the script"


def _rights(pipeline: Node) -> Iterator[str]:
    for node in pipeline.walk():
        deploys = node.name == "sh" and "llmeval deploy" in node.text
        if not deploys and "redentials(" not in node.text:
            continue
        when = node.stages[-1].get("when") if node.stages else None
        conditions = [] if when is None else [one.name for one in when.walk()]
        if not {"branch", "changeRequest"} <= set(conditions):
            yield f"line {node.line}: other branches and pull requests get here too"
        if deploys and node.stages[-1].get("input") is None:
            yield f"line {node.line}: nobody is asked before the deployment"
        if deploys and "lock" not in [parent.name for parent in node.parents]:
            yield f"line {node.line}: two deployments may run at once"
    for asked in pipeline.all("input"):
        when = asked.stages[-1].get("when")
        if when is None or not when.all("beforeInput"):
            yield f"line {asked.line}: pull requests would wait for somebody"


def _bounds(pipeline: Node) -> Iterator[str]:
    options = pipeline.get("options")
    named = [] if options is None else [one.name for one in options.children]
    for name in ("disableConcurrentBuilds", "timeout"):
        if name not in named:
            yield f"line {pipeline.line}: the options lack {name}"


def _results(pipeline: Node) -> Iterator[str]:
    for name in ("junit", "archiveArtifacts"):
        steps = pipeline.all(name)
        if not steps:
            yield f"line {pipeline.line}: no step {name}"
        for step in steps:
            if [parent.name for parent in step.parents[-2:]] != ["post", "always"]:
                yield f"line {step.line}: {name} is to be in post, always"
