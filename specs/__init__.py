"""Reference models, recorded facts and the numbered guarantees that the tests cite."""
