"""Generates the code of the protos into what is built: it is nowhere in the source tree."""

import os
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
OWN = HERE / "proto"
# As `kubridge protos --out DIR` writes them; in this repository they are there already.
CONTRACT = Path(os.environ.get("KUBRIDGE_PROTOS", HERE / "../../proto"))


class BuildWithProtos(build_py):
    """`build_py`, and then protoc."""

    def run(self) -> None:
        super().run()
        import grpc_tools
        from grpc_tools import protoc

        contract = sorted((CONTRACT / "kubridge/v1").glob("*.proto"))
        if not contract:
            raise SystemExit(
                f"{CONTRACT} has no kubridge/v1/*.proto: `kubridge protos --out DIR` writes them, and KUBRIDGE_PROTOS=DIR "
                "says where"
            )
        own = sorted(OWN.rglob("*.proto"))
        out = Path(self.build_lib)
        include = Path(grpc_tools.__file__).parent / "_proto"
        paths = [f"-I{OWN}", f"-I{CONTRACT}", f"-I{include}"]
        code = ["--python_out", f"{out}", "--grpc_python_out", f"{out}"]
        descriptors = ["--include_imports", "--include_source_info"]
        descriptors += [f"--descriptor_set_out={out / 'hostmetrics/descriptors.binpb'}"]
        for what, files in ((code, own + contract), (descriptors, own)):
            if protoc.main(["protoc", *paths, *what, *map(str, files)]) != 0:
                raise SystemExit("protoc failed: see above")


setup(cmdclass={"build_py": BuildWithProtos})
