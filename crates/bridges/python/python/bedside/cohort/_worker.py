"""A process of `Local`: parts in on standard input, a line each, and a line out when one is done."""

import json
import os
import sys
from pathlib import Path

from ._parts import Part, Question, answer, write


def main() -> None:
    fields, out = json.loads(sys.argv[1])
    fields["prompts"] = [tuple(prompt) for prompt in fields["prompts"]]
    question, folder = Question(**fields), Path(out)
    parent = os.getppid()

    def orphaned() -> bool:
        """Whether another run may be giving out the same sources."""
        return os.getppid() != parent

    answer(Part([]), question, folder)
    print("ready", flush=True)
    for line in sys.stdin:
        part = Part([(path, sha256) for path, sha256 in json.loads(line)])
        why = None
        try:
            write(folder, part.name, answer(part, question, folder), unless=orphaned)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
        if orphaned():
            return
        print(json.dumps(why), flush=True)


if __name__ == "__main__":
    main()
