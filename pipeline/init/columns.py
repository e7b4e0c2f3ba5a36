"""Tell what a column is from its name and its values: a time, a part of the date, an entity's name."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from noisy_gru.data.arrow import pa
from noisy_gru.data.values.parsing import parse_times
from noisy_gru.schema.csv_config import FALSE_TEXTS, TRUE_TEXTS

_ENTITY_NAMES = (
    "id|ids|entity|series|sequence|seq|utterance|user|customer|client|device|sensor|station|site|origin|unit|patient"
    "|machine|engine|vehicle|car|session|trial|subject|symbol|ticker|store|shop|item|product|sku|case|episode|run"
    "|meter|household|firm|company|fcode|country|state|county|city|region|location|building|zone|player|team|account"
    "|name|nr|uid|visitor|member|student|school|record|trip|route|house|home|window|cow|pig|animal|plant|tree|bird|sample|participant|person|turbine|airline|province|district"
    "|bearing|batch|lot|shipment|flight|vessel|pump|motor|robot|truck|stay|admission|encounter|card|bed|loan|contract|claim"
    "|job|node|track|recording|video|reactor|maschine|anlage|zaehler|kunde|filiale|standort|fahrzeug|artikel|geraet"
)
TIME_NAMES = (
    "time|times|timestamp|timestamps|datetime|date|dates|ds|step|steps|t|frame|tick|cycle|year|years|yr|quarter|month"
    "|week|day|days|hour|minute|second|seconds|index|idx|seq|order|position|ts|period|epoch|when|observed|wave"
)
_CALENDAR_PARTS = "year|yr|month|mon|mnth|day|dom|dow|doy|weekday|week|hour|hr|minute|min|second|quarter|season"
# What a model is asked for, where it is one value for each sequence; the second ones only of recordings.
LABEL_NAMES = (
    "label|labels|class|classes|classval|target|outcome|activity|speaker|diagnosis|fault|failure|failed|status|result"
    "|species|gesture|survived|churn|churned|rul|defect|anomaly|died|death|death_rate|mortality|emotion|digit|grade"
    "|verdict|lifetime|ttf|score|rating|fall|converted|conversion|fraud|fraudulent|default|defaulted|canceled|cancelled"
    "|readmitted|readmission|relapse|attrition|purchased|subscribed|sepsis|arrhythmia|abnormal|broken|faulty|malicious"
    "|attack|intrusion|spam|bot|dropout|success|expire|expired|deceased|dead|bought|clicked|approved|malignant|infected"
    "|transport_mode|travel_mode|responder|winner|tags|genre|genres|ausfall|defekt|stoerung|klasse|panne"
)
SOFT_LABEL_NAMES = "mode|type|state|category|quality|condition|kind|stage|phase|zustand"
# A column so named says what something is like, not which one it is.
_STATE_NAMES = "status|type|kind|mode|class|label|flag|event|category|level|is|has|grade|group"
INDEX_NAMES = r"^(|unnamed: ?\d+|index|idx|row|rownames?|row_?(id|num|number|index)|obs|n|no)$"
MOST_UNPARSABLE = 0.05  # the default of policies.max_quarantined_fraction


def words_of(column: str) -> str:
    """Return a column's name in lower case, its words joined by underscores."""
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"([a-z])([A-Z])", r"\1_\2", column).lower()).strip("_")


def named(column: str, words: str) -> bool:
    """Return whether one of a column name's words is one of ``words``, separated by ``|``."""
    return re.search(rf"(^|_)({words})\d*($|_)", words_of(column)) is not None


def is_entity_name(column: str) -> bool:
    """Return whether a column's name says that it names something: ``store_nbr``, ``countyid``, ``RecordID``."""
    words = words_of(column)
    suffix = "_?(id|ids|nr|nbr|no|num|number|code|key|name)?"
    is_named = re.search(rf"(^|_)({_ENTITY_NAMES})s?{suffix}\d*($|_)", words) is not None
    is_of_event = re.fullmatch(r"event_?(id|nr|no|num|number|key)", words) is not None
    return is_of_event or (is_named and not named(column, _STATE_NAMES))


def is_calendar_part(column: str) -> bool:
    """Return whether a column's name says that it holds a part of the date."""
    return re.fullmatch(rf"({_CALENDAR_PARTS})(_?of_?\w+)?s?", words_of(column)) is not None


def is_boolean(column: pd.Series) -> bool:
    """Return whether a column holds true and false, as such or as text that ``kind: boolean`` reads."""
    if pd.api.types.is_bool_dtype(column):
        return True
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column):
        return False
    found = {str(value).strip().lower() for value in column.dropna().unique()[:3]}
    return len(found) == 2 and len(found & set(TRUE_TEXTS)) == 1 and len(found & set(FALSE_TEXTS)) == 1


def is_timestamp(column: pd.Series) -> bool:
    """Return whether a column holds timestamps, as such or as text that ingestion reads."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return True
    values = column.dropna().head(500)
    if not len(values) or pd.api.types.is_numeric_dtype(values):
        return False
    if all(hasattr(value, "isoformat") for value in values):
        return True
    if not all(isinstance(value, str) and re.match(r"\d{4}(-\d\d|/\d{1,2}/\d)", value) for value in values):
        return False
    _, bad = parse_times(pa.array(values, pa.string()), "timestamp")
    return bool(np.mean(bad) <= MOST_UNPARSABLE)


def time_kind(column: pd.Series) -> str | None:
    """Return how ``data.time.kind`` reads a column; None if it can't."""
    if is_timestamp(column):
        return "timestamp"
    if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
        return None
    known = column.dropna()
    if len(known) < (1 - MOST_UNPARSABLE) * len(column) or not len(known):
        return None
    # A run quarantines the rows of a few cells that are no times.
    return "integer" if (known % 1 == 0).all() else "float" if len(known) == len(column) else None


def moments(column: pd.Series, kind: str) -> np.ndarray:
    """Return times as float64 [N], in seconds for timestamps; NaN where there is none."""
    if kind != "timestamp":
        return column.to_numpy(float, na_value=np.nan)
    if not pd.api.types.is_datetime64_any_dtype(column):
        column = pd.to_datetime(column.astype(object), format="ISO8601", utc=True, errors="coerce")
    known = column.notna().to_numpy()
    values = np.full(len(column), np.nan)
    values[known] = column[known].astype("datetime64[ns, UTC]" if column.dt.tz else "datetime64[ns]").astype("int64")
    return values / 1e9
