"""Command lines: values, mistakes, flagfiles and help."""

import pathlib
import textwrap

import pytest

from vim_tf import config as configs
from vim_tf.cli import flags
from vim_tf.errors import InputError

ROOT = pathlib.Path(__file__).parents[2]
TRAIN = configs.TokenizerTrainConfig
SAMPLE = ["--tokenizer=t", "--language_model=l", "--output=o"]


def train(*argv):
    return flags.parse(TRAIN, ["--workdir=w", *argv])


def refusal(config_class, *argv):
    with pytest.raises(InputError) as caught:
        flags.parse(config_class, list(argv))
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestValues:
    def test_without_flags_every_value_is_the_default(self):
        assert train() == TRAIN(workdir="w")

    def test_dots_lead_into_sections(self):
        config = train("--model.quantizer.codebook_size=64", "--optimizer.learning_rate=2e-3", "--data.source=photos")
        assert config.model.quantizer.codebook_size == 64
        assert config.optimizer.learning_rate == 2e-3
        assert config.data.source == "photos"

    def test_one_value_changes_nothing_else_of_its_section(self):
        assert train("--model.quantizer.codebook_size=64").model.quantizer == configs.QuantizerConfig(codebook_size=64)

    def test_a_sections_own_defaults_beat_those_of_its_class(self):
        config = flags.parse(configs.LanguageModelTrainConfig, ["--workdir=w", "--tokens=t", "--optimizer.beta1=0.8"])
        assert (config.optimizer.beta1, config.optimizer.beta2, config.optimizer.warmup_steps) == (0.8, 0.96, 5000)

    def test_of_two_values_the_later_one_counts(self):
        assert train("--training.seed=1", "--training.seed=2").training.seed == 2

    @pytest.mark.parametrize(
        ("argument", "value"),
        [
            ("--model.quantizer.l2_normalize", True),
            ("--nomodel.quantizer.l2_normalize", False),
            ("--model.quantizer.l2_normalize=false", False),
            ("--model.quantizer.l2_normalize=true", True),
        ],
    )
    def test_booleans_can_be_set_by_name_by_no_and_by_value(self, argument, value):
        assert train(argument).model.quantizer.l2_normalize is value

    @pytest.mark.parametrize(("argument", "labels"), [("1,2,3", (1, 2, 3)), ("7", (7,)), (" 1, 2", (1, 2)), ("", ())])
    def test_lists_are_separated_by_commas(self, argument, labels):
        assert flags.parse(configs.SampleCommand, [*SAMPLE, f"--labels={argument}"]).labels == labels

    def test_a_list_of_text_is_a_tuple(self):
        argv = ["--tokenizer=t", "--output=o", "--images=a.png,b c.jpg"]
        assert flags.parse(configs.ReconstructCommand, argv).images == ("a.png", "b c.jpg")

    def test_a_list_replaces_its_default(self):
        config = flags.parse(configs.EncodeCommand, ["--tokenizer=t", "--output=o", "--split=validation"])
        assert config.split == ("validation",)

    def test_two_parses_are_independent(self):
        train("--training.seed=5")
        assert train().training.seed == 0


class TestMistakes:
    def test_a_mistyped_name_gets_a_suggestion(self):
        message = refusal(TRAIN, "--workdir=w", "--model.quantizer.codebok_size=64")
        assert "'model.quantizer.codebok_size'" in message
        assert "Did you mean: model.quantizer.codebook_size" in message

    def test_an_unknown_name_is_refused(self):
        assert "Unknown command line flag 'zzz'" in refusal(TRAIN, "--workdir=w", "--zzz=1")

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("training.batch_size", "many"),
            ("training.batch_size", "1.5"),
            ("training.batch_size", ""),
            ("optimizer.learning_rate", "fast"),
            ("model.quantizer.l2_normalize", "perhaps"),
        ],
    )
    def test_a_value_of_the_wrong_kind_is_refused_with_its_flag(self, name, value):
        assert f"--{name}={value}" in refusal(TRAIN, "--workdir=w", f"--{name}={value}")

    def test_a_list_with_a_value_of_the_wrong_kind_is_refused(self):
        message = refusal(configs.SampleCommand, *SAMPLE, "--labels=1,two")
        assert message == "flag --labels=1,two: needs int values, separated by commas"

    def test_a_wrong_choice_names_the_allowed_ones(self):
        message = refusal(TRAIN, "--workdir=w", "--optimizer.schedule=cosin")
        assert message == "flag --optimizer.schedule=cosin: value should be one of <constant|cosine|exponential>"

    def test_a_value_that_the_config_refuses_is_refused(self):
        assert refusal(TRAIN, "--workdir=w", "--training.batch_size=0") == "batch_size must be above 0, not 0"

    def test_a_missing_value_is_asked_for(self):
        assert refusal(TRAIN) == "--workdir is needed; --help explains it"

    def test_a_flag_without_its_value_is_refused(self):
        assert "training.batch_size" in refusal(TRAIN, "--workdir=w", "--training.batch_size")

    def test_a_word_that_is_not_a_flag_is_refused(self):
        assert refusal(TRAIN, "--workdir=w", "tokenizer").startswith("unexpected argument 'tokenizer'")

    def test_facts_that_a_command_finds_out_itself_are_not_flags(self):
        assert "Unknown command line flag 'model.tokens.codebook_size'" in refusal(
            configs.LanguageModelTrainConfig, "--workdir=w", "--tokens=t", "--model.tokens.codebook_size=4"
        )


class TestNamedSizes:
    def test_a_size_stands_for_the_numbers_of_the_papers_table_2(self):
        config = train("--model.encoder.size=base", "--model.decoder.size=large")
        assert config.model.encoder == configs.TransformerConfig(12, 12, 768, 3072)
        assert config.model.decoder == configs.TransformerConfig(32, 16, 1280, 5120)
        given = ["--workdir=w", "--tokens=t", "--model.size=large"]
        model = flags.parse(configs.LanguageModelTrainConfig, given).model
        assert (model.num_layers, model.num_heads, model.hidden_dim, model.mlp_dim) == (36, 32, 2048, 8192)

    def test_of_a_size_and_a_number_the_later_one_counts(self):
        assert train("--model.encoder.size=base", "--model.encoder.num_layers=2").model.encoder.num_layers == 2
        assert train("--model.encoder.num_layers=2", "--model.encoder.size=base").model.encoder.num_layers == 12

    def test_an_unknown_size_is_refused_with_the_allowed_ones(self):
        message = refusal(TRAIN, "--workdir=w", "--model.encoder.size=huge")
        assert message == "flag --model.encoder.size=huge: value should be one of <small|base|large>"

    def test_help_shows_the_sizes(self):
        assert "--model.decoder.size= [small | base | large]" in flags.help_text(TRAIN, "Trains.")
        help = flags.help_text(configs.LanguageModelTrainConfig, "Trains.")
        assert "--model.size= [base | large] sets num_layers, num_heads, hidden_dim, mlp_dim to" in " ".join(
            help.split()
        )


class TestFlagfiles:
    @pytest.fixture
    def write(self, tmp_path):
        def write(name, text):
            path = tmp_path / name
            path.write_text(textwrap.dedent(text))
            return f"--flagfile={path}"

        return write

    def test_comments_blank_lines_and_spaces_around_a_flag_are_ignored(self, write):
        config = train(write("a.flags", "# a comment\n\n  --training.seed=3  \n// another\n"))
        assert config.training.seed == 3

    def test_a_flag_after_the_file_overrides_it(self, write):
        assert train(write("a.flags", "--training.seed=3\n"), "--training.seed=4").training.seed == 4

    def test_a_flag_before_the_file_is_overridden_by_it(self, write):
        assert train("--training.seed=4", write("a.flags", "--training.seed=3\n")).training.seed == 3

    def test_files_can_be_nested(self, write):
        inner = write("inner.flags", "--training.seed=3\n--training.batch_size=8\n")
        config = train(write("outer.flags", f"--training.total_steps=5\n{inner}\n--training.batch_size=16\n"))
        assert (config.training.seed, config.training.batch_size, config.training.total_steps) == (3, 16, 5)

    def test_a_nested_file_is_looked_for_next_to_the_file_that_names_it(self, write, tmp_path, monkeypatch, capsys):
        (tmp_path / "sub").mkdir()
        (tmp_path / "elsewhere").mkdir()
        write("seed.flags", "--training.seed=9\n")
        write("sub/seed.flags", "--training.seed=3\n")
        outer = write("sub/outer.flags", "--flagfile=seed.flags\n--flagfile=../batch.flags\n")
        write("batch.flags", "--training.batch_size=8\n")
        for folder in ("elsewhere", "."):
            monkeypatch.chdir(tmp_path / folder)
            config = train(outer)
            assert (config.training.seed, config.training.batch_size) == (3, 8)
        assert capsys.readouterr().err == ""

    def test_a_nested_file_is_found_from_the_working_directory_with_one_line_of_notice(
        self, write, tmp_path, monkeypatch, capsys
    ):
        (tmp_path / "sub").mkdir()
        write("seed.flags", "--training.seed=3\n")
        outer = write("sub/outer.flags", "--flagfile=seed.flags\n--training.batch_size=8\n--flagfile=seed.flags\n")
        monkeypatch.chdir(tmp_path)
        assert train(outer).training.seed == 3
        notice = f"{tmp_path}/sub/outer.flags: seed.flags isn't in its folder and was found in the working directory"
        assert capsys.readouterr().err.splitlines() == [notice]

    def test_flagfiles_that_a_flagfile_names_as_values_are_found_next_to_it(self, write, tmp_path, monkeypatch):
        write("stage.flags", "")
        path = write("pipeline.flags", "--tokenizer_flagfile=stage.flags\n--language_model_flagfile=/there/it.flags\n")
        monkeypatch.chdir("/")
        config = flags.parse(configs.PipelineConfig, ["--name=n", "--output=o", path])
        assert config.tokenizer_flagfile == f"{tmp_path}/stage.flags"
        assert config.language_model_flagfile == "/there/it.flags"

    def test_paths_of_the_command_line_are_taken_as_they_are(self):
        given = ["--tokenizer_flagfile=a.flags", "--language_model_flagfile=b.flags"]
        assert flags.parse(configs.PipelineConfig, ["--name=n", "--output=o", *given]).tokenizer_flagfile == "a.flags"

    def test_a_file_that_includes_itself_is_refused(self, write, tmp_path):
        write("b.flags", "--flagfile=a.flags\n")
        assert "includes itself" in refusal(TRAIN, write("a.flags", "--flagfile=b.flags\n"))

    def test_a_missing_nested_file_is_named_with_the_file_that_wants_it(self, write, tmp_path):
        message = refusal(TRAIN, write("a.flags", "--flagfile=none.flags\n"))
        assert message.startswith(f"--flagfile={tmp_path}/none.flags (named in {tmp_path}/a.flags) can't be read")

    def test_a_missing_file_is_named(self, tmp_path):
        path = tmp_path / "none.flags"
        message = refusal(TRAIN, f"--flagfile={path}")
        assert str(path) in message and "No such file" in message

    def test_a_file_that_is_not_text_is_refused(self, tmp_path):
        path = tmp_path / "image.png"
        path.write_bytes(b"\x89PNG\xff\xfe")
        assert "isn't a text file" in refusal(TRAIN, f"--flagfile={path}")

    def test_a_mistake_in_the_file_gets_a_suggestion(self, write):
        assert "Did you mean: training.seed" in refusal(TRAIN, "--workdir=w", write("a.flags", "--training.sead=3\n"))


class TestChoose:
    def choose(self, *argv):
        return flags.choose("task", configs.TRAIN_CONFIGS, "tokenizer", list(argv))

    def test_it_finds_the_one_flag_among_unknown_ones(self):
        assert self.choose("--workdir=w", "--help", "--task=language_model", "--nomore") == "language_model"

    def test_it_finds_the_flag_in_a_file(self):
        assert self.choose(f"--flagfile={ROOT}/configs/digits/language_model.flags") == "language_model"

    def test_without_the_flag_it_gives_the_default(self):
        assert self.choose("--workdir=w") == "tokenizer"

    def test_another_value_is_refused_with_the_allowed_ones(self):
        allowed = r"<tokenizer\|palette\|language_model\|linear_probe>"
        with pytest.raises(InputError, match=f"--task=decoder: value should be one of {allowed}"):
            self.choose("--task=decoder")

    def test_a_missing_file_is_refused(self):
        with pytest.raises(InputError, match=r"none\.flags"):
            self.choose("--flagfile=none.flags")


class TestHelpText:
    def test_it_shows_every_flag_with_its_default_and_help(self):
        text = " ".join(flags.help_text(TRAIN, "Trains.").split())
        for name, field in configs.leaves(TRAIN):
            assert f" --{name}=" in text
            assert " ".join(field.metadata["help"].split()) in text
        assert "--model.quantizer.codebook_size=8192 number of codes" in text
        assert text.startswith("Trains. Flags (--flagfile=<path> reads more flags from a file): --task=tokenizer")

    def test_it_shows_the_choices(self):
        assert "--optimizer.schedule=cosine [constant | cosine | exponential]" in flags.help_text(TRAIN, "")

    def test_it_shows_the_defaults_of_the_command_not_those_of_the_class(self):
        assert "--training.batch_size=1024\n" in flags.help_text(configs.LanguageModelTrainConfig, "")

    def test_it_leaves_out_what_is_not_a_flag(self):
        assert "tokenizer_checksum" not in flags.help_text(configs.LanguageModelTrainConfig, "")
