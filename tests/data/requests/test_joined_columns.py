"""An entity of several columns and a time of several columns read as one of each."""

import numpy as np
import pandas as pd
import pytest

from noisy_gru.data.ingestion.report_checks import check_errors
from noisy_gru.data.reading.in_memory_tables import frame_source
from noisy_gru.data.reading.tables import Source
from noisy_gru.data.requests.prediction_input import read_for_prediction, read_sources
from noisy_gru.data.requests.staged_input import stage_input
from noisy_gru.data.requests.stream_steps import read_stream_steps
from noisy_gru.schema.config import DatasetConfig

SHOPS, PRODUCTS = ("north", "a|b"), ("tea", "rye\\")


def table() -> pd.DataFrame:
    rows = [
        (shop, product, day, day.dayofyear + 100 * place + 1000 * number)
        for number, shop in enumerate(SHOPS)
        for place, product in enumerate(PRODUCTS)
        for day in pd.date_range("2026-02-20", periods=15)
        if day.day != 3  # a gap
    ]
    return pd.DataFrame(rows, columns=["shop", "product", "day", "sales"])


def several(frame: pd.DataFrame) -> pd.DataFrame:
    day = frame["day"].dt
    return frame.drop(columns="day").assign(Y=day.year, M=day.month, D=day.day)


def one(frame: pd.DataFrame) -> pd.DataFrame:
    names = frame["shop"].str.replace("|", "\\|") + "|" + frame["product"].str.replace("\\", "\\\\")
    return frame.assign(series=names)


def dataset(**data: object) -> DatasetConfig:
    known = [{"calendar": "day_of_week", "known_in_advance": True}]
    features = ["sales", *known, *({"name": name, "kind": "categorical"} for name in ("shop", "product"))]
    return DatasetConfig.model_validate(
        {
            "data": {"files": ["*"], "features": features, **data},
            "task": {"kind": "forecasting", "targets": ["sales"], "input_length": 5, "horizons": [1, 3]},
            "splits": {"by": "time"},
        }
    )


GRID = {"kind": "timestamp", "frequency": "1D", "gaps": "fill"}
JOINED = dataset(entity=["shop", "product"], time={"column": {"year": "Y", "month": "M", "day": "D"}, **GRID})
SINGLE = dataset(entity="series", time={"column": "day", **GRID})


def test_the_same_as_one_column_of_each(tmp_path):
    frame = table()
    found = read_sources([frame_source(several(frame), None)], JOINED)
    wanted = read_sources([frame_source(one(frame), None)], SINGLE)
    assert found.ids == wanted.ids
    assert found.report.steps_filled == wanted.report.steps_filled == 4
    assert found.origins is not None and wanted.origins is not None
    np.testing.assert_array_equal(found.origins.target_times, wanted.origins.target_times)
    assert found.origins.columns_at(range(4)) == {
        "shop": ["north", "north", "a|b", "a|b"],
        "product": [*PRODUCTS, *PRODUCTS],
    }
    assert wanted.origins.columns_at(range(4)) == {}
    several(frame).to_csv(tmp_path / "rows.csv", index=False)
    several(frame).to_parquet(tmp_path / "rows.parquet")
    for name in ("rows.csv", "rows.parquet"):
        assert read_for_prediction([tmp_path / name], JOINED).examples == found.examples


def test_staged_input_has_the_columns_too(tmp_path):
    several(table()).to_csv(tmp_path / "rows.csv", index=False)
    sources = [Source(str(tmp_path / "rows.csv"), "rows.csv", "csv")]
    wanted = read_sources(sources, JOINED)
    assert wanted.origins is not None
    for buckets in (1, 3):
        folder = tmp_path / str(buckets)
        folder.mkdir()
        found = list(stage_input(sources, JOINED, folder, buckets=buckets).batches(3))
        assert [name for each in found for name in each.ids] == wanted.ids
        shops = [
            shop for each in found if each.origins for shop in each.origins.columns_at(range(len(each.ids)))["shop"]
        ]
        assert shops == wanted.origins.columns_at(range(4))["shop"]


def test_filled_and_future_steps_have_the_entity_of_their_columns():
    tf_example = pytest.importorskip("noisy_gru.data.reading.tfrecords").example_lists
    found = read_sources([frame_source(several(table()), None)], JOINED)
    for example, shop, product in zip(found.examples, np.repeat(SHOPS, 2), [*PRODUCTS, *PRODUCTS], strict=True):
        lists = tf_example(example)
        assert set(lists["shop"]) == {shop.encode()}
        assert set(lists["product"]) == {product.encode()}


def test_a_row_without_one_of_the_columns():
    frame = several(table())
    frame.loc[3, "product"] = None
    frame.loc[5, "M"] = 13
    found = read_sources([frame_source(frame, None)], JOINED)
    check_errors(found.report)
    problems = {line["row"]: line["problem"] for line in found.unusable}
    assert problems[4].startswith("expected an entity id, received")
    assert problems[6].startswith("expected a date of year, month, day (data.time.column), received 2026 and 13 and 25")
    with pytest.raises(Exception, match="expected the column D"):
        read_sources([frame_source(several(table()).drop(columns="D"), None)], JOINED)


def test_a_stream_goes_on_where_it_was():
    frame = several(table())
    first = read_stream_steps([frame_source(frame[frame["M"] == 2], None)], JOINED, {}, ["sales"])
    last = dict(zip(first.ids, first.times, strict=True))
    rest = read_stream_steps([frame_source(frame[frame["M"] == 3], None)], JOINED, last, ["sales"])
    assert first.ids == rest.ids
    assert len(rest.ids) == 4
    assert (rest.tensors["lengths"] == 6).all()


def test_entities_that_are_none():
    for entity, problem in (([], "a column, or several"), (["a", "a"], "different names")):
        with pytest.raises(ValueError, match=problem):
            dataset(entity=entity, time={"column": "day", **GRID})
    assert dataset(entity=["series"], time={"column": "day", **GRID}).data.entity == "series"
    with pytest.raises(ValueError, match="layout makes one column of the entity"):
        dataset(entity=["a", "b"], time={"column": "day", **GRID}, layout={"kind": "wide_series", "value": "sales"})
    with pytest.raises(ValueError, match="a list of columns is for tables"):
        dataset(entity=["a", "b"], time={"column": "day", **GRID}, format="example")
