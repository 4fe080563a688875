"""Rows of datasets as tests write them down and read them off."""

import json


def write(tmp_path, rows, name="x.jsonl"):
    path = tmp_path / name
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


def said(rows):
    return [[(turn["role"], turn["text"]) for turn in row["turns"]] for row in rows]


def human(*texts):
    return [[("human", text)] for text in texts]


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


ABC = [{"role": "human", "text": "a"}, {"role": "assistant", "text": "b"}, {"role": "human", "text": "c"}]
