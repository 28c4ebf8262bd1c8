"""Models of string operators and of classical machine learning, and with several inputs and outputs."""

from __future__ import annotations

import numpy as np
from tests.serving.zoo import Case, floats, integers, strings


def text_and_trees() -> list[Case]:
    words = strings("Hello", "WORLD", "hello")
    return [
        Case(
            "StringNormalizer",
            'g (string[A] x) => (string[B] y) { y = StringNormalizer <locale = "C.UTF-8",'
            ' case_change_action = "LOWER", stopwords = ["world"]> (x) }',
            {"x": words},
        ),
        Case(
            "StringConcat",
            "g (string[N,1] a, string[N,1] b) => (string[N,1] y) { y = StringConcat (a, b) }",
            {"a": strings("ä", "b", shape=(2, 1)), "b": strings("1", "", shape=(2, 1))},
        ),
        Case(
            "RegexFullMatch",
            'g (string[N] x) => (bool[N] y) { y = RegexFullMatch <pattern = "[hH].*"> (x) }',
            {"x": words},
        ),
        Case(
            "StringEqual",
            "g (string[N] a, string[N] b) => (bool[N] y) { y = Equal (a, b) }",
            {"a": words, "b": strings("Hello", "x", "hello")},
        ),
        Case(
            "StringSplit",
            'g (string[A] x) => (string[A,B] y, int64[A] n) { y, n = StringSplit <delimiter = " "> (x) }',
            {"x": strings("a b", "c")},
        ),
        Case(
            "LabelEncoder",
            'g (string[N] x) => (int64[N] y) { y = ai.onnx.ml.LabelEncoder <keys_strings = ["Hello", "hello"],'
            " values_int64s = [5, 6], default_int64 = -1> (x) }",
            {"x": words},
        ),
        Case(
            "LabelEncoder-back",
            "g (int64[N] x) => (string[N] y) { y = ai.onnx.ml.LabelEncoder <keys_int64s = [0, 1],"
            ' values_strings = ["no", "yes"], default_string = "?"> (x) }',
            {"x": np.array([0, 1, 7], dtype=np.int64)},
        ),
        Case(
            "OneHotEncoder",
            'g (string[N] x) => (float[N,2] y) { y = ai.onnx.ml.OneHotEncoder <cats_strings = ["Hello", "hello"]> (x) }',
            {"x": words},
        ),
        Case(
            "Scaler",
            "g (float[N,2] x) => (float[N,2] y) { y = ai.onnx.ml.Scaler <offset = [1.0, 2.0], scale = [0.5, 2.0]> (x) }",
            {"x": floats(3, 2)},
        ),
        Case(
            "Imputer",
            "g (float[N,2] x) => (float[N,2] y) { y = ai.onnx.ml.Imputer <imputed_value_floats = [1.0, 2.0],"
            " replaced_value_float = 0.0> (x) }",
            {"x": np.array([[0, 5], [3, 0]], dtype=np.float32)},
        ),
        Case(
            "LinearRegressor",
            "g (float[N,2] x) => (float[N,1] y) { y = ai.onnx.ml.LinearRegressor <coefficients = [0.5, -1.5],"
            " intercepts = [0.25], targets = 1> (x) }",
            {"x": floats(3, 2)},
        ),
        Case(
            "TreeEnsembleRegressor",
            "g (float[N,2] x) => (float[N,1] y) { y = ai.onnx.ml.TreeEnsembleRegressor <n_targets = 1,"
            " nodes_treeids = [0, 0, 0], nodes_nodeids = [0, 1, 2], nodes_featureids = [1, 0, 0],"
            ' nodes_modes = ["BRANCH_LEQ", "LEAF", "LEAF"], nodes_values = [0.0, 0.0, 0.0], nodes_truenodeids = [1, 0, 0],'
            " nodes_falsenodeids = [2, 0, 0], target_treeids = [0, 0], target_nodeids = [1, 2], target_ids = [0, 0],"
            " target_weights = [1.5, -2.5]> (x) }",
            {"x": floats(4, 2)},
        ),
        Case(
            "TreeEnsembleRegressor-categories",  # as boosted trees are exported: a chain of codes, all to the same node
            "g (float[N,2] x) => (float[N,2] y) { y = ai.onnx.ml.TreeEnsembleRegressor <n_targets = 2,"
            " nodes_treeids = [0, 0, 0, 0, 0, 0], nodes_nodeids = [0, 1, 2, 3, 4, 5], nodes_featureids = [1, 1, 0, 0, 0, 0],"
            ' nodes_modes = ["BRANCH_EQ", "BRANCH_EQ", "BRANCH_LEQ", "LEAF", "LEAF", "LEAF"],'
            " nodes_values = [3.0, 5.0, 0.5, 0.0, 0.0, 0.0], nodes_missing_value_tracks_true = [0, 0, 1, 0, 0, 0],"
            " nodes_truenodeids = [2, 2, 3, 0, 0, 0], nodes_falsenodeids = [1, 5, 4, 0, 0, 0], base_values = [0.0, 0.25],"
            " target_treeids = [0, 0, 0], target_nodeids = [3, 4, 5], target_ids = [1, 1, 1],"
            " target_weights = [1.5, -2.5, 7.0]> (x) }",
            {"x": np.array([[np.nan, 3], [0, 5], [1, 5], [np.nan, 0]], dtype=np.float32)},
        ),
        Case(
            "sequence-output-left-out",
            "g (float[N,2] x) => (float[N,2] y, seq(float[N,2]) z) { y = Relu (x)\n z = SequenceConstruct (x, x) }",
            {"x": floats(1, 2)},
            skip_outputs=("z",),
        ),
        Case(
            "several-in-out",
            "g (float[N,2] a, int64[N,1] b, string[N] c, bool[N,1] d) => (float[N,2] w, int64[N,1] x, string[N] y, bool[N,1] z)"
            " { w = Neg (a)\n x = Add (b, b)\n y = StringConcat (c, c)\n z = Not (d) }",
            {"a": floats(3, 2), "b": integers("int64", 3, 1), "c": words, "d": np.array([[True], [False], [True]])},
        ),
    ]


CASES = text_and_trees()
