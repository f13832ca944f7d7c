package catalog

import "strings"

// everyday says what people call the things that official names contain. An item gets
// the words of each line whose official text its name contains ("+" asks for both). Words of single items are in the demonstration catalog.
var everyday = []struct {
	official string
	words    []string
}{
	{"社会保险", []string{"社保"}},
	{"社会保障", []string{"社保"}},
	{"养老保险", []string{"社保", "养老金"}},
	{"失业保险", []string{"社保", "失业金"}},
	{"工伤保险", []string{"社保", "工伤"}},
	{"工伤", []string{"工伤", "上班受伤"}},
	{"社会保障卡", []string{"社保卡"}},
	{"社会保障卡+挂失", []string{"社保卡丢了", "社保卡掉了"}},
	{"社会保障卡+补", []string{"社保卡丢了", "社保卡坏了", "补社保卡"}},
	{"基本医疗保险", []string{"医保"}},
	{"医疗保障", []string{"医保"}},
	{"医疗保险", []string{"医保", "看病报销"}},
	{"医疗费用", []string{"医保", "看病报销", "报销"}},
	{"生育保险", []string{"医保", "生孩子"}},
	{"生育津贴", []string{"生孩子", "产假工资"}},
	{"异地就医", []string{"医保", "外地看病", "异地报销"}},
	{"户籍", []string{"户口"}},
	{"户口", []string{"户口本", "落户"}},
	{"居民户口簿", []string{"户口本"}},
	{"出生登记", []string{"上户口", "新生儿"}},
	{"出生医学证明", []string{"出生证", "新生儿"}},
	{"死亡", []string{"去世", "过世"}},
	{"居民身份证", []string{"身份证", "办身份证"}},
	{"身份证+补", []string{"身份证丢了"}},
	{"居住证", []string{"暂住证"}},
	{"结婚登记", []string{"结婚证", "领证"}},
	{"离婚登记", []string{"离婚证"}},
	{"婚姻登记", []string{"结婚证", "离婚证"}},
	{"收养登记", []string{"领养"}},
	{"最低生活保障", []string{"低保"}},
	{"特困人员", []string{"五保户"}},
	{"临时救助", []string{"困难补助"}},
	{"残疾人证", []string{"残疾证"}},
	{"残疾人", []string{"残疾"}},
	{"高龄", []string{"老人补贴"}},
	{"机动车驾驶证", []string{"驾照", "驾驶证"}},
	{"驾驶人", []string{"驾照"}},
	{"机动车", []string{"车"}},
	{"机动车+检验", []string{"年检", "验车"}},
	{"普通护照", []string{"出国"}},
	{"往来港澳", []string{"港澳通行证"}},
	{"食品经营", []string{"开饭店", "开餐馆", "卖吃的", "食品证"}},
	{"公共场所卫生许可", []string{"卫生许可证", "开宾馆", "开理发店"}},
	{"企业设立", []string{"开公司", "营业执照", "注册公司"}},
	{"企业+变更", []string{"营业执照变更"}},
	{"企业+注销", []string{"关公司", "注销公司"}},
	{"个体工商户", []string{"营业执照", "开店"}},
	{"农民专业合作社", []string{"合作社", "营业执照"}},
	{"药品经营", []string{"开药店"}},
	{"医疗机构", []string{"开诊所"}},
	{"烟草专卖零售", []string{"烟证", "卖烟"}},
	{"道路运输证", []string{"营运证"}},
	{"出租汽车", []string{"出租车"}},
	{"网络预约出租汽车", []string{"网约车"}},
	{"不动产", []string{"房产证", "房本"}},
	{"不动产+转移", []string{"房子过户", "过户"}},
	{"建设工程规划", []string{"盖房子"}},
	{"宅基地", []string{"农村建房", "盖房子"}},
	{"乡村建设规划", []string{"农村建房"}},
	{"施工许可", []string{"施工证"}},
	{"住房公积金", []string{"公积金"}},
	{"公共租赁住房", []string{"公租房", "廉租房"}},
	{"取水许可", []string{"打井", "用水"}},
	{"林木采伐", []string{"砍树"}},
	{"拖拉机", []string{"农机"}},
	{"发票", []string{"开发票", "开票"}},
	{"税务", []string{"报税", "税"}},
	{"纳税", []string{"报税", "交税"}},
	{"个人所得税", []string{"个税", "退税"}},
	{"出口退", []string{"退税"}},
	{"退休", []string{"退休"}},
	{"就业困难", []string{"找工作"}},
	{"失业登记", []string{"没工作"}},
	{"创业担保贷款", []string{"创业贷款"}},
	{"劳务派遣", []string{"派遣公司"}},
	{"劳动人事争议", []string{"讨薪", "欠工资", "劳动仲裁"}},
	{"教师资格", []string{"教师证"}},
	{"民办学校", []string{"办学校"}},
	{"幼儿园", []string{"办幼儿园"}},
	{"助学", []string{"助学金", "贫困生"}},
	{"法律援助", []string{"请律师", "打官司"}},
	{"公证", []string{"公证处"}},
	{"律师", []string{"律师"}},
	{"退役军人", []string{"退伍", "当兵"}},
	{"优抚对象", []string{"军属", "烈属"}},
	{"护士", []string{"护士证"}},
	{"医师", []string{"医生证"}},
	{"计划生育", []string{"生孩子"}},
	{"消防", []string{"消防验收"}},
	{"危险化学品", []string{"危化品"}},
	{"烟花爆竹", []string{"卖鞭炮"}},
	{"户外广告", []string{"广告牌"}},
	{"养犬", []string{"狗证", "养狗"}},
	{"渔业", []string{"捕鱼"}},
	{"动物防疫", []string{"养殖"}},
	{"兽药", []string{"开兽药店"}},
	{"种子", []string{"卖种子"}},
	{"排污许可", []string{"排污证", "环保"}},
	{"环境影响评价", []string{"环评"}},
}

// wordsFor returns the everyday words for a name.
func wordsFor(name string) []string {
	var set tokenSet
	text := nameKey(name)
	for _, line := range everyday {
		all := true
		for part := range strings.SplitSeq(line.official, "+") {
			all = all && strings.Contains(text, part)
		}
		if all {
			for _, w := range line.words {
				set.add(w)
			}
		}
	}
	return set.list
}

// fillers are what people type around what they want; they are left out of a query when
// something else remains.
var fillers = []string{
	"怎么办理", "如何办理", "怎么办", "怎样办", "怎么", "怎样", "如何", "我要", "我想", "我的", "需要什么", "在哪里", "在哪儿",
	"去哪里", "去哪儿", "哪里", "哪儿", "什么", "请问", "流程", "手续", "办理", "申请办", "帮我", "可以", "吗", "呢", "啊",
}
