package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ukdump/internal/advice"
)

// Command is a verb of a program, or a program that has none. Parsing, help,
// completion and the synopsis of the manual page come from it.
type Command struct {
	Name    string // "" for the program itself
	Summary string // for the list of verbs, in one line
	About   string // for its help: paragraphs, with an empty line between them

	// Options adds the options. The help of each that has a value begins with the
	// name of that in backquotes.
	Options func(f *pflag.FlagSet)
	Either  bool   // its options exclude each other
	Args    string // arguments as the synopsis shows them
	Min     int    // number of arguments
	Max     int    // -1: any number
	// Values returns the arguments that a shell completes; nil stands for files,
	// if there are arguments.
	Values func() []string
	Files  bool // files complete an argument, too, where no value fits

	Root   bool     // only root can run it
	Status []string // exit statuses beside those of every verb, one line each
	Run    func(args []string) error
	// RunWith takes the place of Run for a verb that runs another program: rest has that
	// program's arguments, which stand behind "--".
	RunWith func(args, rest []string) error
}

// Dispatch runs the command that the arguments name, or root where they name none.
// uid is the user's ID. Mistakes on the command line are usage errors.
func (p *Program) Dispatch(root *Command, verbs []*Command, uid int) error {
	return p.tree(root, verbs, uid).Execute()
}

// tree makes cobra's commands of the table.
func (p *Program) tree(root *Command, verbs []*Command, uid int) *cobra.Command {
	cobra.EnableCommandSorting = false
	top := p.command(root, uid)
	top.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		for _, v := range verbs {
			if v.Name == cmd.Name() {
				fmt.Fprint(p.Stdout, p.Help(v))
				return
			}
		}
		fmt.Fprint(p.Stdout, p.Help(root, verbs...))
	})
	top.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return misuse(cmd, err)
	})
	top.CompletionOptions.DisableDefaultCmd = true
	top.SuggestionsMinimumDistance = 2
	top.SetHelpCommand(&cobra.Command{Use: "no-help", Hidden: true})
	for _, v := range verbs {
		top.AddCommand(p.command(v, uid))
	}
	top.SetArgs(append([]string{}, p.Args...)) // nil would be those of the process
	top.SetOut(p.Stdout)
	top.SetErr(p.Stderr)
	return top
}

// command makes a command of cobra's.
func (p *Program) command(v *Command, uid int) *cobra.Command {
	name := v.Name
	if name == "" {
		name = p.Name
	}
	cmd := &cobra.Command{Use: name, Short: v.Summary, SilenceErrors: true, SilenceUsage: true}
	cmd.Flags().SortFlags = false
	if v.Options != nil {
		v.Options(cmd.Flags())
	}
	cmd.Flags().BoolP("help", "h", false, "")
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		o := optionOf(f)
		if f.Usage = o.help; strings.HasSuffix(o.form, " DIRECTORY") {
			cmd.MarkFlagDirname(f.Name)
		}
	})
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		args, _ = v.split(cmd, args)
		switch {
		case len(args) < v.Min:
			return misuse(cmd, errors.New("an argument is missing"))
		case v.Max >= 0 && len(args) > v.Max:
			return p.tooMany(cmd, args[v.Max])
		}
		return nil
	}
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		switch {
		case v.Max >= 0 && len(args) >= v.Max:
			return nil, cobra.ShellCompDirectiveNoFileComp
		case v.Values != nil:
			directive := cobra.ShellCompDirectiveNoFileComp
			if v.Files {
				directive = cobra.ShellCompDirectiveDefault
			}
			return slices.DeleteFunc(v.Values(), func(s string) bool { return slices.Contains(args, s) }), directive
		}
		return nil, cobra.ShellCompDirectiveDefault
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := v.check(cmd); err != nil {
			return err
		}
		if v.Root && uid != 0 {
			return advice.With(fmt.Errorf("%s: only root can do that", v.Name), "Run sudo "+p.Name+" "+v.Name+".")
		}
		if args, rest := v.split(cmd, args); v.RunWith != nil {
			return v.RunWith(args, rest)
		}
		return v.Run(args)
	}
	return cmd
}

// split takes off the arguments of another program.
func (v *Command) split(cmd *cobra.Command, args []string) (own, rest []string) {
	if n := cmd.ArgsLenAtDash(); v.RunWith != nil && n >= 0 {
		return args[:n], args[n:]
	}
	return args, nil
}

// tooMany is the error of an argument that is one too many: for the program itself,
// of a verb that there is not.
func (p *Program) tooMany(cmd *cobra.Command, arg string) error {
	if cmd.HasParent() || !cmd.HasSubCommands() {
		return misuse(cmd, fmt.Errorf("unexpected argument %q", arg))
	}
	err := fmt.Errorf("unknown verb %q", arg)
	if names := cmd.SuggestionsFor(arg); len(names) > 0 {
		err = fmt.Errorf("%w, did you mean %s?", err, strings.Join(names, " or "))
	}
	return Usage(fmt.Errorf("%w: see %s --help", err, p.Name))
}

// check looks for options that exclude each other.
func (v *Command) check(cmd *cobra.Command) error {
	var given []string
	cmd.Flags().Visit(func(f *pflag.Flag) { given = append(given, "--"+f.Name) })
	if v.Either && len(given) > 1 {
		return Usage(fmt.Errorf("%s exclude each other", strings.Join(given, " and ")))
	}
	return nil
}

func misuse(cmd *cobra.Command, err error) error {
	return Usage(fmt.Errorf("%w: see %s --help", err, cmd.CommandPath()))
}

// maxOptions is how many options a synopsis names.
const maxOptions = 5

// Synopsis returns the line of usage of a command.
func (p *Program) Synopsis(v *Command) string {
	words := []string{p.Name}
	if v.Name != "" {
		words = append(words, v.Name)
	}
	var options []string
	for _, o := range v.options() {
		options = append(options, o.form)
	}
	switch {
	case len(options) > maxOptions:
		words = append(words, "[OPTION]...")
	case v.Either && len(options) > 0:
		words = append(words, "["+strings.Join(options, " | ")+"]")
	default:
		for _, o := range options {
			words = append(words, "["+o+"]")
		}
	}
	if v.Args != "" {
		words = append(words, v.Args)
	}
	return strings.Join(words, " ")
}

// Options returns the options of a command as --NAME.
func (p *Program) Options(v *Command) (names []string) {
	for _, o := range v.options() {
		name, _, _ := strings.Cut(o.form, " ")
		names = append(names, name)
	}
	return names
}

// option is one option as people read it.
type option struct {
	form string // --dir DIRECTORY
	help string
}

func (v *Command) options() (list []option) {
	if v.Options == nil {
		return nil
	}
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.SortFlags = false
	v.Options(f)
	f.VisitAll(func(o *pflag.Flag) { list = append(list, optionOf(o)) })
	return list
}

func optionOf(f *pflag.Flag) option {
	value, help, ok := strings.Cut(strings.TrimPrefix(f.Usage, "`"), "` ")
	if !ok {
		return option{"--" + f.Name, f.Usage}
	}
	return option{"--" + f.Name + " " + value, help}
}

// helpWidth is how many characters a line of help has at most.
const helpWidth = 80

// Help returns the help of a command, and the list of verbs below that of a program.
func (p *Program) Help(v *Command, verbs ...*Command) string {
	var b strings.Builder
	b.WriteString(wrap("Usage: ", p.Synopsis(v)) + "\n")
	for paragraph := range strings.SplitSeq(v.About, "\n\n") {
		b.WriteString("\n" + wrap("", paragraph) + "\n")
	}
	var rows [][2]string
	for _, o := range v.options() {
		rows = append(rows, [2]string{o.form, o.help})
	}
	table(&b, rows)
	rows = nil
	for _, verb := range verbs {
		rows = append(rows, [2]string{verb.Name, verb.Summary})
	}
	table(&b, rows)
	if len(verbs) > 0 {
		fmt.Fprintf(&b, "\n%s VERB --help explains a verb.\n", p.Name)
	}
	if len(v.Status) > 0 {
		fmt.Fprintf(&b, "\n%s\n", wrap("", "Exit status: "+strings.Join(v.Status, ", ")+"."))
	}
	return b.String()
}

// maxColumn is the width of the first column of a table; a longer cell has a line of
// its own.
const maxColumn = 22

// table writes rows of two cells, the second one wrapped.
func table(b *strings.Builder, rows [][2]string) {
	if len(rows) == 0 {
		return
	}
	width := 0
	for _, r := range rows {
		if n := len(r[0]); n <= maxColumn {
			width = max(width, n)
		}
	}
	b.WriteByte('\n')
	for _, r := range rows {
		head := fmt.Sprintf("  %-*s  ", width, r[0])
		if len(r[0]) > width {
			fmt.Fprintf(b, "  %s\n", r[0])
			head = strings.Repeat(" ", width+4)
		}
		b.WriteString(wrap(head, r[1]) + "\n")
	}
}

// wrap breaks text into lines behind head, which is as wide as their indent.
func wrap(head, text string) string {
	var b strings.Builder
	b.WriteString(head)
	at := len(head)
	for i, word := range strings.Fields(text) {
		switch {
		case i > 0 && at+1+len(word) > helpWidth:
			b.WriteString("\n" + strings.Repeat(" ", len(head)))
			at = len(head)
		case i > 0:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += len(word)
	}
	return b.String()
}

// Shells are those that Completion knows.
var Shells = []string{"bash", "zsh", "fish"}

// Completion prints the script that completes this program's command line in a shell.
func (p *Program) Completion(shell string, root *Command, verbs []*Command) error {
	top := p.tree(root, verbs, 0)
	switch shell {
	case "bash":
		return top.GenBashCompletionV2(p.Stdout, true)
	case "zsh":
		return top.GenZshCompletion(p.Stdout)
	case "fish":
		return top.GenFishCompletion(p.Stdout, true)
	}
	return Usage(fmt.Errorf("unknown shell %q: completion supports %s", shell, strings.Join(Shells, ", ")))
}
